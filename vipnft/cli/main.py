"""The verbs of `vipnft`.

Rule 1: only this package prints and exits; an error is caught once, in `main`.
Rule 2: what a command needs is imported when it runs: `vipnft --help` waits for nothing.
"""

import os
import sys

import typer

from vipnft import __version__
from vipnft.cli import (
    agent,
    apply,
    check,
    cluster,
    events,
    lab,
    moves,
    network,
    serve,
    snapshot,
    status,
    store,
    which,
)
from vipnft.cli.output import say
from vipnft.errors import ConfigError, VipnftError

app = typer.Typer(
    name="vipnft",
    help="One service address on many Linux hosts: each takes its share of the clients.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(apply.apply)
app.command()(agent.agent)
app.command()(apply.down)
app.command()(which.which)
app.command()(status.status)
app.command()(check.check)
app.command()(cluster.weight)
app.command()(cluster.drain)
app.command()(cluster.resume)
app.command()(cluster.off)
app.command()(moves.plan)
app.command()(moves.release)
app.command()(moves.take)
app.command()(network.announce)
app.command()(network.probe)
app.command()(store.store_setup)
app.command()(serve.serve)
app.command()(snapshot.snapshot)
app.command()(events.events)
app.add_typer(lab.app, name="lab")


def _version(value: bool) -> None:
    if value:
        say(f"vipnft {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the command line; an error is printed with its fix and becomes the exit code."""
    try:
        app(prog_name="vipnft")
    except VipnftError as error:
        faults = error.faults if isinstance(error, ConfigError) else (error,)
        first, *more = map(str, faults)
        say(f"vipnft: {first}", *more, error=True)
        if error.fix:
            say(*f"  fix: {error.fix}".replace("\n", "\n    ").split("\n"), error=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # such as a full disk behind stdout
        say(f"vipnft: {error}", error=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
