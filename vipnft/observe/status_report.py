"""What `status` says: one report, as JSON or as text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from vipnft.buckets.phases import Phase, State
from vipnft.buckets.ranges import ranges
from vipnft.model import Applied, Mode, Owners, send_mac
from vipnft.ruleset.stage import StageFacts
from vipnft.shown import printable

_MANY = 2  # former owners of what is joined; more of them share a line
_RANGES_CHARS = 50  # of a list of buckets that a line has room for
Counters = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """The XDP stage on an interface: `where` it runs, "" where it doesn't, and then `why`; how many
    packets it dropped by itself, of each bucket."""

    where: str
    why: str = ""
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NicReport:
    """An interface on a segment, and what is served there. `strays`: frames that came from the
    listen MAC, and by which ports, where this host is the bridge; `stage` is None where there is
    and should be none."""

    interface: str
    vips: tuple[str, ...]
    listen_mac: str
    send_mac: str
    strays: int = 0
    stray_ports: str = ""
    stage: StageReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What this host took since its rules were loaded."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Buckets on the move, `whom` to or from; `seconds_left` is None where an agent ends it."""

    state: State
    whom: tuple[str, ...]
    buckets: tuple[int, ...]
    seconds_left: float | None
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What this host serves, and how the kernel differs from what was applied.

    `hosts` are the file's; `owners` and `bucket_packets` have an entry a bucket; `duplicates` are
    other machines that have a VIP.
    """

    cluster: str
    host: str
    mode: Mode
    nics: tuple[NicReport, ...]
    taken: Taken
    moving: tuple[Moving, ...]
    hosts: tuple[str, ...]
    owners: Owners
    bucket_packets: tuple[int, ...]
    drift: tuple[str, ...]
    note: str
    duplicates: tuple[str, ...] = ()

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return len(self.owners)

    @property
    def owned(self) -> list[int]:
        """The buckets of this host."""
        return [b for b, owner in enumerate(self.owners) if owner == self.host]

    @property
    def load(self) -> tuple[int, ...]:
        """How many packets of each bucket came: taken here, or dropped by the XDP stage."""
        every = [self.bucket_packets]
        every += [nic.stage.dropped for nic in self.nics if nic.stage and nic.stage.dropped]
        return tuple(map(sum, zip(*every, strict=True)))

    @property
    def share(self) -> float:
        """How much of all that is, 0 to 1."""
        return len(self.owned) / self.buckets


def build(
    applied: Applied,
    counters: Counters,
    phases: Sequence[Phase | None],
    connections: Mapping[int, int],
    drift: Sequence[str],
    stale: str,
    macs: Mapping[str, str],
    strays: Mapping[str, tuple[int, str]],
    stages: Mapping[str, StageFacts] | None = None,
) -> StatusReport:
    """Return the facts of this host.

    `macs` are the interfaces' own; of `strays` see NicReport, of `stages` StageFacts. Counters and
    phases are the kernel's, by bucket; `connections` the live ones of each bucket.
    """
    return StatusReport(
        cluster=applied.cluster.name,
        host=applied.host,
        mode=applied.mode,
        nics=tuple(
            NicReport(
                interface=nic.interface,
                vips=tuple(map(str, nic.vips)),
                listen_mac=nic.listen_mac(applied.mode),
                send_mac=send_mac(nic, applied.mode, macs),
                strays=strays.get(nic.interface, (0, ""))[0],
                stray_ports=strays.get(nic.interface, (0, ""))[1],
                stage=_stage((stages or {}).get(nic.interface)),
            )
            for nic in applied.nics
        ),
        taken=_sum(counters),
        moving=tuple(_moving(applied, phases, connections)),
        hosts=tuple(applied.cluster.weights),
        owners=applied.owners,
        bucket_packets=tuple(counters.get(b, (0, 0))[0] for b in range(applied.cluster.buckets)),
        drift=tuple(drift),
        note=stale,
    )


def document(report: StatusReport) -> dict[str, object]:
    """Return the report as --json has it: the names and their order are a promise to programs."""
    return {
        "cluster": report.cluster,
        "host": report.host,
        "mode": report.mode,
        "nics": [asdict(nic) for nic in report.nics],
        "buckets": report.buckets,
        "owned": report.owned,
        "share": report.share,
        "taken": asdict(report.taken),
        "moving": [
            {
                "state": one.state,
                "with": one.whom,
                "buckets": one.buckets,
                "seconds_left": one.seconds_left,
                "connections": one.connections,
            }
            for one in report.moving
        ],
        "hosts": report.hosts,
        "owners": report.owners,
        "bucket_packets": report.bucket_packets,
        "drift": report.drift,
        "note": report.note,
        "duplicates": report.duplicates,
    }


def text(report: StatusReport) -> str:
    """Return the report as a person reads it."""
    on = ", ".join(nic.interface for nic in report.nics)
    lines = [f"{report.cluster}: host {report.host}, {report.mode} mode on {on}"]
    for nic in report.nics:
        lines += [
            f"VIP         {', '.join(nic.vips)}",
            f"listen MAC  {nic.listen_mac}",
            f"send MAC    {nic.send_mac}",
        ]
        if nic.strays:
            by = f" by port {nic.stray_ports}" if nic.stray_ports else ""
            lines.append(
                f"WARNING     {nic.strays:,} frames came{by} from the listen MAC: a switch that"
                " learns it there brings everything to that port"
            )
    lines += [
        f"buckets     {len(report.owned)} of {report.buckets} ({report.share:.1%}):"
        f" {_short(ranges(report.owned))}",
        f"taken       {report.taken.packets:,} packets, {report.taken.bytes:,} bytes",
    ]
    lines += [
        f"XDP stage   {_staged(nic.stage)} on {nic.interface}" for nic in report.nics if nic.stage
    ]
    for one in report.moving:
        preposition = "to" if one.state is State.DRAINING else "from"
        lines.append(
            f"{one.state:<11} {_short(ranges(one.buckets))} {preposition} {' or '.join(one.whom)},"
            f" {_time(one.seconds_left)}, {one.connections} connections here"
        )
    if report.note:
        lines.append(f"note        {report.note}")
    lines += [f"duplicate   {one}" for one in report.duplicates]
    if report.drift:
        lines += ["kernel      differs from what was applied:"]
        lines += [f"  {line}" for line in report.drift]
    else:
        lines.append("kernel      holds what was applied")
    return "\n".join(map(printable, lines))


def _stage(found: StageFacts | None) -> StageReport | None:
    if found is None:
        return None
    if found.where and not found.ours:
        return StageReport(where="", why=f"another program is there, number {found.number}")
    return StageReport(where=found.where, why=found.refused, dropped=found.dropped)


def _moving(
    applied: Applied, phases: Sequence[Phase | None], connections: Mapping[int, int]
) -> Iterator[Moving]:
    """Yield what moves, grouped by state and by whom it concerns."""
    groups: dict[tuple[State, tuple[str, ...]], list[int]] = {}
    for b, phase in enumerate(phases):
        if phase is None or phase.left <= 0:
            continue
        drainers = tuple(sorted(set(applied.drains.get(b, {})) - {applied.host}))
        whom = drainers if phase.state is State.JOINING else (applied.owners[b],)
        groups.setdefault((phase.state, whom), []).append(b)
    # A newcomer joins what anybody may have served: one line, not one a host.
    joining = [key for key in groups if key[0] is State.JOINING]
    if len(joining) > _MANY:
        several = sorted(b for key in joining for b in groups.pop(key))
        groups[State.JOINING, tuple(sorted({n for _, who in joining for n in who}))] = several
    for (state, whom), several in sorted(groups.items()):
        yield Moving(
            state=state,
            whom=whom,
            buckets=tuple(several),
            seconds_left=_seconds(max(p.left for b in several if (p := phases[b]))),
            connections=sum(connections.get(b, 0) for b in several),
        )


def _staged(stage: StageReport) -> str:
    if not stage.where:
        return f"off ({stage.why})" if stage.why else "off"
    return f"{stage.where}, {sum(stage.dropped):,} packets dropped by it,"


def _seconds(left: float) -> float | None:
    """Return the time left; None where an agent will end it."""
    return None if math.isinf(left) else round(left, 1)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "until its connections end"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"


def _short(several: str) -> str:
    """Cut a long list at a comma; --json has it whole."""
    if len(several) <= _RANGES_CHARS:
        return several
    return several[:_RANGES_CHARS].rpartition(",")[0] + ",..."


def _sum(counters: Counters) -> Taken:
    several = counters.values()
    return Taken(packets=sum(p for p, _ in several), bytes=sum(n for _, n in several))
