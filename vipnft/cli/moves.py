"""The verbs that plan and make moves of buckets: plan, release, take."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vipnft.buckets.ranges import parse_ranges, ranges
from vipnft.cli.apply import call_hooks
from vipnft.cli.options import DEFAULT_CONFIG, Config, Drain, StoreUrl, load, whole_seconds
from vipnft.cli.output import document, say
from vipnft.errors import UsageError

Range = Annotated[str, typer.Argument(metavar="RANGE", help="Buckets, such as 0-15,40.")]


def plan(
    config: Config = DEFAULT_CONFIG,
    takeover: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As if this host were dead.")
    ] = None,
    by_load: Annotated[
        bool, typer.Option("--by-load", help="What agents would move to even the load, and why.")
    ] = False,
    store: StoreUrl = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell what an apply of --config would move: from whom to whom, and each new share.

    From what is applied on this host; where nothing is, from what the default file gives. With
    --by-load, from what agents say in their store that each bucket carries.
    """
    if by_load:
        if takeover:
            raise UsageError("--by-load and --takeover don't go together", fix="leave one out")
        _plan_by_load(config, store, as_json=as_json)
        return
    from vipnft.buckets.phases import owners_of
    from vipnft.cli import plan_report
    from vipnft.host import record

    applied = record.load()
    cluster = load(config)
    before = applied.owners if applied else owners_of(load(DEFAULT_CONFIG))
    report = plan_report.build(cluster, before, takeover or ())
    if as_json:
        document(json.dumps(plan_report.document(report), indent=1))
    else:
        document(plan_report.text(report))


def _plan_by_load(config: Path, store: str, *, as_json: bool) -> None:
    from vipnft.cli import load_report
    from vipnft.cli.cluster import STORE_POLL_S, opened

    snapshot = opened(config, store).transact({}, {}, timeout=STORE_POLL_S).snapshot
    report = load_report.build(snapshot)
    if as_json:
        document(json.dumps(load_report.document(report), indent=1))
    else:
        document(load_report.text(report))


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
    from vipnft.host.apply import release as release_here

    wanted = _parse(buckets)
    _known(to, config)
    outcome = release_here(wanted, to, whole_seconds(drain))
    say(f"{ranges(wanted)} given to {to}; there: vipnft take {buckets} --from THIS HOST")
    call_hooks(outcome)


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
    from vipnft.host.apply import take as take_here

    wanted = _parse(buckets)
    if source is not None:
        _known(source, config)
    outcome = take_here(wanted, source, whole_seconds(drain))
    say(f"{ranges(wanted)} taken" + (f" from {source}" if source else ", their orphans are reset"))
    call_hooks(outcome)


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
