"""What `status --cluster` says: what the agents agreed on, who of them beats; as JSON or text."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from vipnft.agreement.records import TABLE, Standing, Table, key_of, members, order
from vipnft.model import Snapshot
from vipnft.shown import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """One host's agent, as its key in the store has it; `lease` in seconds.

    `silent`: its key did not move for longer than its lease, which says nothing of one that
    carries on without the store (`holds`), and little of one that may go on by the others'
    promises (`failsafe`); `ordered`: to drain, by an operator, who has called it off if `off`;
    `unheard`: who of those that beat does not answer when it asks.
    """

    standing: Standing
    silent: bool
    holds: bool
    weight: int
    lease: float
    ordered: bool
    off: bool
    owned: tuple[int, ...]
    draining: tuple[int, ...]
    failsafe: bool = False
    unheard: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """What it says of itself, if it still says anything."""
        if self.silent:
            # From who is silent, and not promised anything, the others take all.
            serves = self.holds or (self.failsafe and self.owned)
            return "unheard" if serves and not self.off else "silent"
        return self.standing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """All agents; `gone` are owners that have no key."""

    cluster: str
    buckets: int
    hosts: Mapping[str, AgentReport]
    gone: tuple[str, ...]


def build(name: str, snapshot: Snapshot, silent: Collection[str]) -> ClusterReport:
    """Return what a snapshot of the store says; the keys of `silent` hosts stand still."""
    known = members(snapshot)
    table = Table.load(snapshot[TABLE].value) if TABLE in snapshot else None
    owners = table.owners if table else ()
    drains = table.drains if table else {}
    return ClusterReport(
        cluster=name,
        buckets=len(owners),
        hosts={
            host: AgentReport(
                standing=known[host].standing,
                silent=host in silent,
                holds=known[host].hold_on_loss,
                weight=known[host].weight,
                lease=known[host].lease,
                ordered=order(snapshot, host).drained,
                off=order(snapshot, host).off == snapshot[key_of(host)].version,
                owned=tuple(b for b, owner in enumerate(owners) if owner == host),
                draining=tuple(sorted(b for b, who in drains.items() if host in who)),
                failsafe=known[host].contact is not None,
                unheard=tuple(sorted(known[host].unheard & known.keys() - set(silent))),
            )
            for host in sorted(known)
        },
        gone=tuple(sorted({*owners} - set(known))),
    )


def document(report: ClusterReport) -> dict[str, object]:
    """Return the report as --json has it: the names and their order are a promise to programs."""
    return {
        "cluster": report.cluster,
        "buckets": report.buckets,
        "hosts": {
            host: {
                "state": one.state,
                "weight": one.weight,
                "lease": one.lease,
                "ordered": one.ordered,
                "owned": one.owned,
                "draining": one.draining,
                "failsafe": one.failsafe,
                "unheard": one.unheard,
            }
            for host, one in report.hosts.items()
        },
        "owners_without_key": report.gone,
    }


def text(report: ClusterReport) -> str:
    """Return the report as a person reads it."""
    lines = [f"{report.cluster}: {len(report.hosts)} agents, {report.buckets} buckets"]
    for host, one in report.hosts.items():
        draining = f", drains {len(one.draining)}" if one.draining else ""
        ordered = ", drained by order" if one.ordered else ""
        ordered += ", off by order" if one.off else ""
        ordered += f", does not hear {' '.join(one.unheard)}" if one.unheard else ""
        lines.append(
            f"{host:<12} {one.state:<9} weight {one.weight:<4}"
            f" {len(one.owned):>5} buckets{draining}{ordered}"
        )
    if report.hosts and all(one.silent for one in report.hosts.values()):
        lines.append("no agent beats: the store may refuse what they write (their logs say why)")
    lines += _without_store(report)
    return "\n".join(map(printable, lines))


def _without_store(report: ClusterReport) -> list[str]:
    """Say what would become of the service if the store were away, where all are to go on."""
    beating = {host: one for host, one in report.hosts.items() if not one.silent}
    able = [host for host, one in beating.items() if one.failsafe]
    if not able:
        return []
    mute = sorted(set(beating) - set(able))
    lost = sorted(beating) if mute else [host for host in able if beating[host].unheard]
    if not lost:
        return ["without the store: all go on, by each other's promises"]
    why = f" ({', '.join(mute)} can't be asked for promises)" if mute else ""
    return [f"without the store: {', '.join(lost)} would be silent{why}"]
