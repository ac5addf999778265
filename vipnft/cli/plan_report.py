"""What `plan` says: which buckets would move, as JSON or as text."""

from collections.abc import Collection
from dataclasses import asdict, dataclass

from vipnft.buckets.assign import assign, moves
from vipnft.buckets.phases import owners_of
from vipnft.buckets.ranges import ranges
from vipnft.errors import UsageError
from vipnft.model import Cluster, Owners
from vipnft.shown import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What one host would give to another."""

    source: str
    target: str
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many buckets a host has, and would have."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What would move; `least` is how few buckets can move for the same shares."""

    buckets: int
    least: int
    pairs: tuple[Pair, ...]
    hosts: tuple[Share, ...]

    @property
    def moves(self) -> int:
        """How many buckets would move."""
        return sum(len(pair.buckets) for pair in self.pairs)


def build(cluster: Cluster, before: Owners, dead: Collection[str]) -> PlanReport:
    """Return what an apply of the cluster would move, as if `dead` hosts were gone."""
    if len(before) != cluster.buckets:
        raise UsageError(
            f"{len(before)} buckets are applied, {cluster.buckets} are in the file: every client"
            " would be dealt anew",
            fix="keep the number of buckets",
        )
    after = owners_of(cluster, dead)
    living = {name: weight for name, weight in cluster.weights.items() if name not in dead}
    by_pair: dict[tuple[str, str], list[int]] = {}
    for one in moves(before, after):
        by_pair.setdefault((str(one.source), one.target), []).append(one.bucket)
    return PlanReport(
        buckets=cluster.buckets,
        least=len(moves(before, assign(living, cluster.buckets, before))),
        pairs=tuple(
            Pair(source=source, target=target, buckets=tuple(several))
            for (source, target), several in sorted(by_pair.items())
        ),
        hosts=tuple(
            Share(name=name, before=before.count(name), after=after.count(name))
            for name in dict.fromkeys([*cluster.weights, *sorted(set(before))])
        ),
    )


def document(report: PlanReport) -> dict[str, object]:
    """Return the report as --json has it: the names and their order are a promise to programs."""
    return {
        "buckets": report.buckets,
        "moves": report.moves,
        "least": report.least,
        "pairs": [
            {"from": pair.source, "to": pair.target, "buckets": pair.buckets}
            for pair in report.pairs
        ],
        "hosts": [asdict(host) for host in report.hosts],
    }


def text(report: PlanReport) -> str:
    """Return the report as a person reads it."""
    if not report.moves:
        return "nothing would move"
    lines = [
        f"{report.moves} of {report.buckets} buckets would move"
        f" (the least possible is {report.least}):"
    ]
    lines += [
        f"  {pair.source} -> {pair.target}: {len(pair.buckets)}  {ranges(pair.buckets)}"
        for pair in report.pairs
    ]
    lines += [
        f"  {host.name}: {host.before} -> {host.after} buckets ({host.after / report.buckets:.1%})"
        for host in report.hosts
    ]
    return "\n".join(map(printable, lines))
