"""The verbs of one host: apply, down, which, status, check."""

import json
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipnft.errors import ConfigError, DriftError, Fault, UsageError, VipnftError
from vipnft.model import Cluster, Mode

if TYPE_CHECKING:
    from vipnft.change import Outcome
    from vipnft.model import Address, Applied, Service

_LONGEST = 30 * 86400
_LARGEST = 64 << 20  # bytes of a cluster file that are read
_REFRESH = 1.0  # seconds between two pictures
DEFAULT_CONFIG = Path("/etc/vipnft/cluster.toml")

Config = Annotated[
    Path,
    typer.Option(
        "--config",
        envvar="VIPNFT_CONFIG",
        help="The cluster file, the same on every host.",
    ),
]
Drain = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="How long connections go on where they are: 90s, 5m, 1h; 0: not."
    ),
]


def seconds(text: str) -> int:
    """Return a time such as 90s, 5m or 1h in seconds, 0 to 30 days."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    if not number.isascii() or not number.isdigit() or int(number) * (unit or 1) > _LONGEST:
        raise UsageError(f"{text!r} is not a time", fix="such as 90s, 5m or 1h; 0 for none")
    return int(number) * (unit or 1)


def load(file: Path) -> Cluster:
    """Read a cluster file; ConfigError with every fault in it."""
    from vipnft import config

    try:
        if file.exists() and not file.is_file():
            raise IsADirectoryError(0, "it is no regular file")
        with file.open("rb") as handle:
            text = handle.read(_LARGEST).decode()
    except OSError as error:
        fix = "write it (see examples/), or name another with --config"
        raise ConfigError(
            [Fault(str(file), "", f"can't be read: {error.strerror}", fix)]
        ) from error
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 text (byte {error.start})"
        raise ConfigError([Fault(str(file), "", found, "save it as UTF-8")]) from error
    return config.parse(text, str(file))


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


def pick_mode(hub: bool, switch: bool, multicast: bool = False, igmp: bool = False) -> Mode:
    """Return the mode that was asked for; UsageError unless it was exactly one."""
    asked = {Mode.HUB: hub, Mode.SWITCH: switch, Mode.MULTICAST: multicast, Mode.IGMP: igmp}
    given = [mode for mode, wanted in asked.items() if wanted]
    if len(given) != 1:
        several = " and ".join(f"--{mode}" for mode in given)
        every = "--switch, --hub, --multicast or --igmp"
        which = f"{several} were given" if given else f"no mode is given: {every}"
        raise UsageError(which, fix="give one of them: --switch works on hubs too")
    return given[0]


def apply(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="This host's name; else the machine's hostname.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the ruleset only.")] = False,
    format: Annotated[  # noqa: A002
        str, typer.Option(help="What --dry-run prints: nft (default) or json.", metavar="nft|json")
    ] = "",
    drain: Drain = "5m",
    takeover: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This host is dead: take its buckets at once."),
    ] = None,
    reshuffle: Annotated[
        bool,
        typer.Option("--reshuffle", help="Deal every client anew: a new seed or bucket count."),
    ] = False,
) -> None:
    """Take this host's share of the clients, or what has changed of it.

    Where only owners changed, only they change in the kernel: no packet is lost, and what is
    established goes on where it is.
    """
    if format not in {"", "nft", "json"}:
        raise UsageError(f"--format is {format!r}", fix="nft or json")
    if format and not dry_run:
        raise UsageError("--format goes with --dry-run", fix="add --dry-run, or leave it out")
    mode = pick_mode(hub, switch, multicast, igmp)
    cluster = load(config)
    name = host or socket.gethostname()
    cluster.host(name)
    if dry_run:
        _dry_run(cluster, name, mode, format)
        return
    from vipnft import node
    from vipnft.moving import owners_of

    dead = tuple(takeover or ())
    outcome = node.apply(cluster, name, mode, drain=seconds(drain), dead=dead, reshuffle=reshuffle)
    for note in outcome.notes:
        print(f"vipnft: {note}", file=sys.stderr)
    owned = owners_of(cluster, dead).count(name)
    on = ", ".join(nic.interface for nic in cluster.nics(name))
    where = f"{cluster.name}: {name} on {on}, {mode} mode"
    print(f"{where}: {_done(outcome, owned, cluster.buckets)}")
    for gone in set(dead) & set(cluster.weights):
        print(f"take {gone} out of {config} before the next apply, or it gets its buckets back")


def _done(outcome: "Outcome", owned: int, buckets: int) -> str:
    share = f"takes {owned} of {buckets} buckets"
    if not outcome.changed:
        return "applied already, nothing to do"
    if outcome.swapped:
        return (
            f"{share}; the whole ruleset was replaced, which may lose a packet or two"
            " under full load, but no connection"
        )
    return f"{share}; {outcome.moved} changed hands" if outcome.moved else share


def _dry_run(cluster: Cluster, name: str, mode: Mode, form: str) -> None:
    from vipnft import expr, ruleset
    from vipnft.kernel import libc, scratch
    from vipnft.moving import owners_of, phases
    from vipnft.tables import TABLES

    macs = {}
    for nic in cluster.nics(name):
        macs[nic.interface] = libc.mac_of(nic.interface) or ruleset.STAND_IN_MAC
        if macs[nic.interface] == ruleset.STAND_IN_MAC:
            print(
                f"vipnft: {nic.interface} is not on this machine; its MAC is shown as"
                f" {ruleset.STAND_IN_MAC}",
                file=sys.stderr,
            )
    share = phases(owners_of(cluster), {}, name, 0)
    commands = ruleset.whole(cluster, name, mode, macs, share, granted=True)
    listing = scratch.listing(commands, TABLES, list(macs))
    if form == "json":
        print(expr.render(commands), end="")
    else:
        print("".join(listing.values()), end="")


def down(config: Config = DEFAULT_CONFIG) -> None:  # noqa: ARG001
    """Give everything back: addresses, MAC, settings, nft tables, as before the first apply.

    What was applied is remembered on the host, so the cluster file is not read.
    """
    from vipnft import node

    outcome = node.down()
    for note in outcome.notes:
        print(f"vipnft: {note}", file=sys.stderr)
    print("this host is as it was" if outcome.changed else "nothing is applied here")


def which(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help="Clients' addresses, or address:port; else lines of standard input."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Tell the bucket and the host of a client's address, as the kernel decides it.

    Services that are dealt by network or by flow have lines of their own; the latter need a port:
    198.51.100.7:4000, [2001:db8::7]:4000.
    """
    from vipnft import affinity
    from vipnft.moving import owners_of

    cluster = load(config)
    owners = owners_of(cluster)
    kind, special = affinity.dealt(cluster.services)
    for word in addresses or (line.strip() for line in sys.stdin or ()):
        if not word:
            continue
        client, port = _client(word)
        kinds = {kind: ""}
        for service in special:
            one = affinity.kind_of(service)
            kinds[one] = f"{kinds.get(one, '')} {_label(service)}"
        for one, label in kinds.items():
            if one.port and port is None:
                print(f"{word} by-port -{label}")
                continue
            number = affinity.bucket(one, client, cluster.seed, cluster.buckets, port or 0)
            print(f"{word} {number} {owners[number]}{label}")


def _client(word: str) -> "tuple[Address, int | None]":
    """Return the address, and the port if there is one, of such as 198.51.100.7:4000."""
    from ipaddress import ip_address

    found = re.fullmatch(r"\[(.+)\]:([0-9]{1,5})|([0-9.]+):([0-9]{1,5})", word)
    text, port = (found[1] or found[3], found[2] or found[4]) if found else (word, None)
    try:
        address = ip_address(text)
        if "%" in text or (port is not None and int(port) > 65535):
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"{word!r} is neither an IP address nor one with a port",
            fix="such as 198.51.100.7, 2001:db8::7, 198.51.100.7:4000 or [2001:db8::7]:4000",
        ) from error
    return address, None if port is None else int(port)


def _label(service: "Service") -> str:
    ports = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in service.ports)
    return f"{service.protocol}/{ports}"


def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="What all agents agreed on, and who beats.")
    ] = False,
    store: Annotated[str, typer.Option(metavar="URL", help="For --cluster; else the file's.")] = "",
) -> None:
    """Tell what this host serves, and whether the kernel still holds what was applied.

    On a terminal with a picture of the buckets: owner by colour, load by brightness.
    """
    if cluster:
        from vipnft.cli.cluster import show as show_cluster

        show_cluster(config, store, as_json=as_json)
        return
    if watch:
        _watch(config)
        return
    report = _look(config)
    if as_json:
        print(json.dumps(report, indent=1))
    elif sys.stdout.isatty():
        from rich.console import Console

        from vipnft.cli.picture import draw

        Console().print(draw(report))
    else:
        from vipnft.cli import show

        print(show.text(report))
    if report["drift"]:
        raise DriftError(
            "the kernel does not hold what was applied", fix="run `vipnft apply` again"
        )


def _look(config: Path) -> dict[str, Any]:
    report = _glance(config)
    # An agent may have moved buckets between two reads: what differs is looked at again.
    return _glance(config) if report["drift"] else report


def _glance(config: Path) -> dict[str, Any]:
    from vipnft import memory, node
    from vipnft.cli import show
    from vipnft.kernel import libc

    applied = memory.load()
    if applied is None:
        raise DriftError("nothing is applied here", fix="vipnft apply --switch")
    phases = node.share(applied)
    moving = any(phase is not None and phase.left > 0 for phase in phases)
    return show.report(
        applied,
        node.counters(),
        phases,
        node.connections(applied) if moving else {},
        node.inspect(applied),
        _stale(config, applied),
        {name: libc.mac_of(name) or worn.mac for name, worn in applied.worn.items()},
    )


def _watch(config: Path) -> None:
    """Show the report every second until interrupted."""
    import time

    from vipnft.cli import show

    try:
        if not sys.stdout.isatty():
            while True:
                print(show.text(_look(config)), end="\n\n", flush=True)
                time.sleep(_REFRESH)
        from rich.live import Live

        from vipnft.cli.picture import draw

        with Live(draw(_look(config)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH)
                live.update(draw(_look(config)), refresh=True)
    except KeyboardInterrupt:
        return


def _stale(file: Path, applied: "Applied") -> str:
    """Tell how the cluster file and what was applied differ; a file that is gone is fine."""
    try:
        if not file.exists():
            return ""
        same = load(file) == applied.cluster
    except (VipnftError, OSError) as error:
        return f"the cluster file can't be used: {str(error).splitlines()[0]}"
    return "" if same else f"{file} has changed since: `vipnft apply` would bring it in"


def check(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="This host's name; else the machine's hostname.")] = "",
) -> None:
    """Check the cluster file, then this machine: a line each, with the fix."""
    from vipnft import checkup

    cluster = load(config)
    name = host or socket.gethostname()
    cluster.host(name)
    print(f"ok    {config}: cluster {cluster.name!r}, {len(cluster.hosts)} hosts")
    found = checkup.machine(cluster, name)
    for finding in found:
        print(f"{finding.grade:<5} {finding.what}")
        if finding.fix:
            print(f"      fix: {finding.fix}")
    if any(finding.grade == "FAIL" for finding in found):
        raise typer.Exit(1)
