"""What agents would move to even the load, for `vipnft plan --by-load`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from vipnft.agreement.costs import costs, untold
from vipnft.agreement.evening import doubt, weighed
from vipnft.agreement.loads import ENOUGH_PERIODS, Load
from vipnft.agreement.records import TABLE, Table, members, weights
from vipnft.buckets.assign import Move
from vipnft.buckets.balance import EVEN, Outcome, even, is_worth, next_moves, shares
from vipnft.errors import UsageError
from vipnft.model import Owners, Snapshot
from vipnft.shown import printable

_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class HostLoad:
    """A host: its packets and CPU seconds a second, and how much of its fair share that is, now and
    then; CPU is None where it doesn't tell of any."""

    name: str
    weight: int
    packets_per_second: float
    cpu: float | None
    share: float
    after: float


@dataclass(frozen=True, slots=True)
class OneMove:
    """A bucket that would move; its CPU is None where packets are what counts."""

    bucket: int
    source: str
    target: str
    packets_per_second: float
    cpu: float | None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The moves in their order, how long they take, why there are none, and `least`: below what
    of its fair share no whole buckets can bring the busiest host, which `heaviest` is why; shares
    are of CPU where `by_cpu`, which where some tell of it all do but the `untold`."""

    moves: tuple[OneMove, ...]
    seconds: float
    why: str
    least: float
    heaviest: int
    hosts: tuple[HostLoad, ...]
    by_cpu: bool
    untold: tuple[str, ...]


def build(snapshot: Snapshot) -> LoadReport:
    """Return what the agents of a cluster would move; UsageError where they don't tell."""
    loads, able = _measured(snapshot)
    owners = Table.load(snapshot[TABLE].value).owners
    if out := sorted(set(owners) - able.keys()):
        raise UsageError(
            f"nothing moves by load now: {', '.join(out)} has buckets still, and does not serve",
            fix="look again once `vipnft status --cluster` shows everybody serving",
        )
    cost, packets = costs(loads, able), weighed(owners, loads, {})
    carried = weighed(owners, loads, cost)
    outcome = even(owners, carried, able)
    why = _why_not(outcome, doubt(outcome, carried, able, loads, cost))
    moves, rounds = ((), 0) if why else _followed(owners, carried, able)
    after = list(owners)
    for move in moves:
        after[move.bucket] = move.target
    now, then = shares(owners, carried, able), shares(after, carried, able)
    return LoadReport(
        tuple(
            OneMove(
                m.bucket,
                str(m.source),
                m.target,
                packets[m.bucket],
                carried[m.bucket] if cost else None,
            )
            for m in moves
        ),
        rounds * max(load.seconds for load in loads.values()),
        why,
        outcome.least,
        max(range(len(carried)), key=carried.__getitem__),
        tuple(
            HostLoad(h, able[h], loads[h].total, _cpu(loads[h]), now[h], then[h])
            for h in sorted(able)
        ),
        bool(cost),
        tuple(untold(loads, able)) if any(loads[h].spent for h in able) else (),
    )


def _cpu(load: Load) -> float | None:
    return load.spent.cpu if load.spent else None


def document(report: LoadReport) -> dict[str, object]:
    """Return the report as --json has it: the names and their order are a promise to programs."""
    return {
        "moves": [
            {
                "bucket": one.bucket,
                "from": one.source,
                "to": one.target,
                "packets_per_second": round(one.packets_per_second, 3),
                "cpu": None if one.cpu is None else round(one.cpu, 6),
            }
            for one in report.moves
        ],
        "seconds": report.seconds,
        "why_not": report.why,
        "least": round(report.least, 4),
        "heaviest": report.heaviest,
        "by": "cpu" if report.by_cpu else "packets",
        "hosts": [asdict(host) for host in report.hosts],
    }


def text(report: LoadReport) -> str:
    """Return the report as a person reads it."""
    before = max(host.share for host in report.hosts)
    after = max(host.after for host in report.hosts)
    what = "CPU" if report.by_cpu else "packets"
    lines = [f"the busiest host has {before:.2f} of its fair share of {what}"]
    if report.why:
        lines[0] += f"; nothing would move: {report.why}"
    else:
        lines[0] += (
            f", and would have {after:.2f} after {len(report.moves)} moves in"
            f" {report.seconds:.0f} s or more:"
        )
    if report.least > EVEN:
        lines.append(
            f"  no whole buckets can bring it below {report.least:.2f}: bucket {report.heaviest}"
            " alone carries that much"
        )
    lines += [
        f"  {one.source} -> {one.target}: {one.bucket}"
        f"  ({_carried(one.packets_per_second, one.cpu)})"
        for one in report.moves
    ]
    lines += [
        f"  {host.name}: weight {host.weight}, {_carried(host.packets_per_second, host.cpu)},"
        f" {host.share:.2f} -> {host.after:.2f} of its fair share"
        for host in report.hosts
    ]
    if report.untold:
        names = ", ".join(report.untold)
        lines.append(
            f"  by packets, as {names} does not tell of its CPU: its agent's log says why,"
            " unless its file has no balance_cpu"
        )
    return "\n".join(map(printable, lines))


def _carried(packets: float, cpu: float | None) -> str:
    taken = "" if cpu is None else f" at {cpu:.4f} CPU"
    return f"{packets:,.1f} packets/s{taken}"


def _measured(snapshot: Snapshot) -> tuple[dict[str, Load], dict[str, int]]:
    """Return what each host says of its load, and the weights of those that serve."""
    known = members(snapshot)
    able = {host: weight for host, weight in weights(known).items() if weight}
    if TABLE not in snapshot or not able:
        raise UsageError("no agents agree in this store", fix="start them: vipnft agent --switch")
    if dumb := sorted(host for host in able if known[host].carries is None):
        raise UsageError(
            f"nobody knows what the buckets of {', '.join(dumb)} carry: that is not measured there",
            fix='give all hosts a file with balance = "load", and reload their agents',
        )
    loads = {host: one.carries for host, one in known.items() if one.carries is not None}
    if young := sorted(host for host in able if not loads[host].is_known):
        raise UsageError(
            f"what the buckets of {', '.join(young)} carry was not measured for long enough",
            fix=f"wait for {ENOUGH_PERIODS * loads[young[0]].seconds:g} s",
        )
    return loads, able


def _why_not(outcome: Outcome, unsure: float) -> str:
    """Return why nothing would move; nothing where something would."""
    if not is_worth(outcome, 0.0, begun=False):
        return "it is as even as is worth it"
    if not is_worth(outcome, unsure, begun=False):
        return f"what is won, {outcome.gain:.2f}, may be chance: loads vary by {unsure:.2f}"
    return ""


def _followed(
    owners: Owners, carried: Sequence[float], able: Mapping[str, int]
) -> tuple[tuple[Move, ...], int]:
    """Return the moves until it is even, one a host a round, and how many rounds that takes."""
    every: list[Move] = []
    for number in range(_ROUNDS):
        outcome = even(owners, carried, able)
        found = next_moves(outcome, owners, carried, able)
        if not found or not is_worth(outcome, 0.0, begun=bool(every)):
            return tuple(every), number
        every += found
        gone = {move.bucket: move.target for move in found}
        owners = tuple(gone.get(bucket, owner) for bucket, owner in enumerate(owners))
    return tuple(every), _ROUNDS
