"""Options that several verbs share, and the file that they name."""

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from vipnft.cli.output import say
from vipnft.config import duration
from vipnft.errors import ConfigError, Fault, UsageError
from vipnft.model import Cluster, Mode

_LONGEST_S = 30 * 86400
_TIMES = "such as 90s, 5m or 1h; 0 for none"
_LARGEST_BYTES = 64 << 20  # bytes of a cluster file that are read
DEFAULT_CONFIG = Path("/etc/vipnft/cluster.toml")

Config = Annotated[
    Path,
    typer.Option(
        "--config",
        envvar="VIPNFT_CONFIG",
        help="The cluster file, the same on every host.",
        readable=False,  # some verbs don't read it; who does says what is wrong with it
    ),
]
Drain = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="How long connections go on where they are: 90s, 5m, 1h; 0: not."
    ),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="VIPNFT_STORE",
        metavar="URL",
        help="The agents' store, sqlite:///path or etcd://...; else the file's.",
    ),
]
HostName = Annotated[str, typer.Option("--host", help="This host's name; else the machine's.")]
Hub = Annotated[bool, typer.Option("--hub", help="The interface takes the listen MAC.")]
Switch = Annotated[
    bool, typer.Option("--switch", help="The interface keeps its MAC; works everywhere.")
]
Multicast = Annotated[
    bool, typer.Option("--multicast", help="The listen MAC is a group's: for static entries.")
]
Igmp = Annotated[
    bool, typer.Option("--igmp", help="Likewise, and joined: for switches that snoop.")
]


def seconds(text: str) -> float:
    """Return a time in seconds, 0 to 30 days; a number alone is seconds."""
    alone = text.isascii() and text.isdecimal()
    try:
        value = duration.seconds(f"{text}s" if alone else text)
    except ValueError as error:
        raise UsageError(f"{text!r} is {error}", fix=_TIMES) from None
    if value > _LONGEST_S:
        raise UsageError(f"{text!r} is more than 30 days", fix=_TIMES)
    return value


def whole_seconds(text: str) -> int:
    """Return a time likewise, for the kernel's timers that libnftables sets by the second."""
    value = seconds(text)
    if value != int(value):
        raise UsageError(f"{text!r} is no whole number of seconds", fix=_TIMES)
    return int(value)


def load(file: Path) -> Cluster:
    """Read a cluster file; ConfigError with every fault in it."""
    from vipnft.config import reader

    try:
        if file.exists() and not file.is_file():
            raise IsADirectoryError(0, "it is no regular file")
        with file.open("rb") as handle:
            text = handle.read(_LARGEST_BYTES).decode("utf-8-sig")  # some editors mark it
    except OSError as error:
        fix = "write it (see examples/), or name another with --config"
        if isinstance(error, PermissionError):
            fix = "run it as root"
        raise ConfigError(
            [Fault(str(file), "", f"can't be read: {error.strerror}", fix)]
        ) from error
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 text (byte {error.start})"
        raise ConfigError([Fault(str(file), "", found, "save it as UTF-8")]) from error
    return reader.parse(text, str(file))


def pick_mode(
    hub: bool,
    switch: bool,
    multicast: bool = False,
    igmp: bool = False,
    *,
    file: Mode | None = None,
) -> Mode:
    """Return the mode that was asked for, else the cluster file's; UsageError unless it is one."""
    asked = {Mode.HUB: hub, Mode.SWITCH: switch, Mode.MULTICAST: multicast, Mode.IGMP: igmp}
    given = [mode for mode, wanted in asked.items() if wanted]
    if len(given) > 1:
        several = " and ".join(f"--{mode}" for mode in given)
        raise UsageError(
            f"{several} were given", fix="give one of them: --switch works on hubs too"
        )
    if not given and file is None:
        raise UsageError(
            "no mode is given: --switch, --hub, --multicast or --igmp",
            fix='give one of them (--switch works on hubs too), or write mode = "switch" into'
            " [cluster]",
        )
    mode = given[0] if given else file
    if mode is None or file not in {None, mode}:
        raise UsageError(
            f'--{mode} was given, and the cluster file says mode = "{file}"',
            fix="leave the option out, or change the file on every host",
        )
    return mode


def pick_store(said: str, cluster: Cluster) -> str:
    """Return the URL of the agents' store: as said, else the file's; UsageError without one."""
    if said and "@" in said and any(said in word for word in sys.argv):
        say(
            "vipnft: WARNING: anybody on this machine can read the command line, and a password in"
            " it: put the URL into the file or into VIPNFT_STORE, the password into password_file",
            error=True,
        )
    if not (url := said or cluster.agents.store):
        raise UsageError(
            "agents need a store to agree through, and none is given",
            fix='[cluster] store = "etcd://..." in the file, or --store URL',
        )
    return url


def here(cluster: Cluster, said: str) -> str:
    """Return which host of the cluster this machine is: as said, else by its hostname, whole or
    its first part. UsageError if it is none."""
    name = said or socket.gethostname()
    if not said and name not in cluster.weights:
        short = name.partition(".")[0]
        name = short if short in cluster.weights else name
    return cluster.require_host(name).name
