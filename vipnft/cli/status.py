"""The verb that tells what this host does: status."""

import json
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, StoreUrl, load
from vipnft.cli.output import document, say
from vipnft.errors import DriftError, UsageError, VipnftError

if TYPE_CHECKING:
    from vipnft.host.duplicate import Inquiry
    from vipnft.model import Applied
    from vipnft.observe.nagios import Code
    from vipnft.observe.status_report import StatusReport


_REFRESH_S = 1.0  # seconds between two pictures


def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="What all agents agreed on, and who beats.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="One line and an exit code for Nagios and its like.")
    ] = False,
    store: StoreUrl = "",
) -> None:
    """Tell what this host serves, and whether the kernel still holds what was applied.

    On a terminal with a picture of the buckets: owner by colour, load by brightness.
    """
    if check:
        raise typer.Exit(_check(config))
    if cluster:
        from vipnft.cli.cluster import show as show_cluster

        show_cluster(config, store, as_json=as_json)
        return
    if watch:
        _watch(config)
        return
    found = _look(config)
    if as_json:
        from vipnft.observe import status_report

        document(json.dumps(status_report.document(found), indent=1))
    elif sys.stdout.isatty():
        from rich.console import Console

        from vipnft.cli.picture import draw

        Console().print(draw(found))
    else:
        from vipnft.observe import status_report

        document(status_report.text(found))
    if found.drift:
        raise DriftError("the kernel does not hold what was applied", fix=_mending())
    if found.duplicates:
        from vipnft.host.duplicate import REMEDY

        raise DriftError("another machine has a VIP", fix=REMEDY)


def _check(config: Path) -> int:
    """Say in one line how bad it is; return the exit code for that."""
    code, line = _checked(config)
    say(line)
    return code


def _checked(config: Path) -> "tuple[Code, str]":
    """Judge by the snapshot, which anybody may read; without an agent by the kernel, as root."""
    from vipnft.host import locks, published
    from vipnft.kernel import clock
    from vipnft.observe import nagios, snapshot

    try:
        return nagios.of_snapshot(snapshot.loaded(published.read(), clock.boottime()))
    except FileNotFoundError:
        pass
    except (
        VipnftError, OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError
    ) as error:  # fmt: skip
        return nagios.unknown(f"{error}: is the agent well?")
    try:
        if locks.tended():
            return nagios.unknown("the agent has said nothing yet")
        return nagios.of_report(_look(config))
    except DriftError as error:
        return nagios.Code.CRITICAL, f"VIPNFT CRITICAL - {error}"
    except (VipnftError, OSError) as error:
        return nagios.unknown(str(error))


def _look(config: Path) -> "StatusReport":
    found = _glance(config)
    # An agent may have moved buckets between two reads: what differs is looked at again.
    return _glance(config) if found.drift else found


def _mending() -> str:
    """Return what brings it back: what agents agree on, no file says."""
    from vipnft.host import record

    applied = record.load()
    if applied is None or not applied.leased:
        return "run `vipnft apply` again"
    return "systemctl status vipnft-agent: an agent that runs mends it"


def _glance(config: Path) -> "StatusReport":
    from vipnft.host import facts, record
    from vipnft.kernel import libc
    from vipnft.observe import status_report

    applied = record.load()
    if applied is None:
        raise DriftError("nothing is applied here", fix="vipnft apply --switch")
    with ExitStack() as asked:
        inquiry = _inquiry(applied, asked)
        phases = facts.share(applied)
        moving = any(phase is not None and phase.left > 0 for phase in phases)
        report = status_report.build(
            applied,
            facts.counters(),
            phases,
            facts.connections(applied) if moving else {},
            _differing(applied),
            stale(config, applied),
            {name: libc.mac_of(name) or worn.mac for name, worn in applied.worn.items()},
            facts.strays(applied, facts.strayed()),
            facts.stages(applied),
        )
        # It was answered meanwhile; of an interface that is down, the report tells.
        with suppress(UsageError):
            claims = inquiry.claims() if inquiry else ()
            return replace(report, duplicates=tuple(map(str, sorted(claims))))
    return report


def _differing(applied: "Applied") -> tuple[str, ...]:
    """Return how the kernel differs; that an agent's lease is over, too, when nobody renews it."""
    from vipnft.host import facts, locks

    found = facts.inspect(applied)
    if found or not applied.leased or locks.tended() or facts.armed():
        return found
    return ("no agent runs here, and its lease is over: this host answers nobody",)


def _inquiry(applied: "Applied", opened: ExitStack) -> "Inquiry | None":
    """Ask who else has the VIPs, as far as one can on this machine as it is now."""
    from vipnft.host.duplicate import Inquiry

    with suppress(UsageError):
        return opened.enter_context(Inquiry(applied.cluster, applied.nics))
    return None


def _watch(config: Path) -> None:
    """Show the report every second until interrupted."""
    import time

    from vipnft.observe import status_report

    try:
        if not sys.stdout.isatty():
            while True:
                say(*status_report.text(_look(config)).split("\n"), "")
                time.sleep(_REFRESH_S)
        from rich.live import Live

        from vipnft.cli.picture import draw

        with Live(draw(_look(config)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH_S)
                live.update(draw(_look(config)), refresh=True)
    except KeyboardInterrupt:
        return


def stale(file: Path, applied: "Applied") -> str:
    """Tell how the cluster file and what was applied differ; a file that is gone is fine."""
    try:
        if not file.exists():
            return ""
        same = load(file) == applied.cluster
    except (VipnftError, OSError) as error:
        return f"the cluster file can't be used: {str(error).splitlines()[0]}"
    return "" if same else f"{file} has changed since: `vipnft apply` would bring it in"
