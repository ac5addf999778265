"""The verbs that plan and make moves of buckets: plan, release, take."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vipnft.buckets.ranges import parse_ranges, ranges
from vipnft.cli.options import DEFAULT_CONFIG, Config, Drain, load, whole_seconds
from vipnft.errors import UsageError
from vipnft.model import Cluster, Owners

Range = Annotated[str, typer.Argument(metavar="RANGE", help="Buckets, such as 0-15,40.")]


def plan(
    config: Config = DEFAULT_CONFIG,
    takeover: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As if this host were dead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell what an apply of --config would move: from whom to whom, and each new share.

    From what is applied on this host; where nothing is, from what the default file gives.
    """
    from vipnft.buckets.phases import owners_of
    from vipnft.host import record

    applied = record.load()
    cluster = load(config)
    before = applied.owners if applied else owners_of(load(DEFAULT_CONFIG))
    report = _report(cluster, before, tuple(takeover or ()))
    print(json.dumps(report, indent=1) if as_json else _text(report))


def _report(cluster: Cluster, before: Owners, dead: tuple[str, ...]) -> dict[str, Any]:
    from vipnft.buckets.assign import assign, moves
    from vipnft.buckets.phases import owners_of

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
    return {
        "buckets": cluster.buckets,
        "moves": sum(map(len, by_pair.values())),
        "least": len(moves(before, assign(living, cluster.buckets, before))),
        "pairs": [
            {"from": source, "to": target, "buckets": several}
            for (source, target), several in sorted(by_pair.items())
        ],
        "hosts": [
            {"name": name, "before": before.count(name), "after": after.count(name)}
            for name in dict.fromkeys([*cluster.weights, *sorted(set(before))])
        ],
    }


def _text(report: dict[str, Any]) -> str:
    if not report["moves"]:
        return "nothing would move"
    lines = [
        f"{report['moves']} of {report['buckets']} buckets would move"
        f" (the least possible is {report['least']}):"
    ]
    lines += [
        f"  {pair['from']} -> {pair['to']}: {len(pair['buckets'])}  {ranges(pair['buckets'])}"
        for pair in report["pairs"]
    ]
    lines += [
        f"  {host['name']}: {host['before']} -> {host['after']} buckets"
        f" ({host['after'] / report['buckets']:.1%})"
        for host in report["hosts"]
    ]
    return "\n".join(lines)


def release(
    buckets: Range,
    to: Annotated[str, typer.Option("--to", metavar="HOST", help="Their new owner.")],
    drain: Drain = "5m",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Give buckets of this host away: the first half of a move by hand.

    What is established here goes on here until the drain ends; the rest is the new owner's,
    once `vipnft take` ran there.
    """
    from vipnft.host import apply

    wanted = _parse(buckets)
    _known(to, config)
    apply.release(wanted, to, whole_seconds(drain))
    print(f"{ranges(wanted)} given to {to}; there: vipnft take {buckets} --from THIS HOST")


def take(
    buckets: Range,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="HOST", help="Who gave them; without it, nobody lives."),
    ] = None,
    drain: Drain = "5m",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Take buckets: the second half of a move by hand.

    With --from, that host's connections live on until its drain ends. Without, they are reset.
    """
    from vipnft.host import apply

    wanted = _parse(buckets)
    if source is not None:
        _known(source, config)
    apply.take(wanted, source, whole_seconds(drain))
    print(
        f"{ranges(wanted)} taken" + (f" from {source}" if source else ", their orphans are reset")
    )


def _known(name: str, config: Path) -> None:
    """Check a host's name by the cluster file, which may be newer than what is applied."""
    from vipnft.host import record

    applied = record.load()
    if applied is not None and name in applied.cluster.weights:
        return
    load(config).require_host(name)


def _parse(text: str) -> tuple[int, ...]:
    from vipnft.host import record

    applied = record.load()
    if applied is None:
        raise UsageError("nothing is applied here", fix="vipnft apply --switch")
    return parse_ranges(text, applied.cluster.buckets)
