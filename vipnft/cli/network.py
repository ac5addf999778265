"""The verbs that look at and speak to the network: announce, probe."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import (
    DEFAULT_CONFIG,
    Config,
    HostName,
    Hub,
    Igmp,
    Multicast,
    Switch,
    here,
    load,
    pick_mode,
    seconds,
)
from vipnft.cli.output import say
from vipnft.errors import UsageError

if TYPE_CHECKING:
    from vipnft.model import Cluster, Mode, Nic

_FOREVER_S = 1e9  # seconds


def announce(config: Config = DEFAULT_CONFIG) -> None:  # noqa: ARG001
    """Tell the segment where the VIPs are: gratuitous ARP, unsolicited advertisements.

    `apply` and `agent` do so by themselves. What was applied counts; the file is not read.
    """
    from vipnft.host import record
    from vipnft.host.announce import announce as announce_here

    applied = record.load()
    if applied is None:
        raise UsageError("nothing is applied here", fix="vipnft apply --switch")
    count = announce_here(applied)
    say(f"{len(applied.cluster.vips)} addresses announced, in {count} frames")


def probe(
    listen: Annotated[
        bool, typer.Option("--listen", help="Tell what arrives here, until interrupted.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many frames to send.")] = 5,
    duration: Annotated[
        str, typer.Option("--for", metavar="TIME", help="With --listen: how long, such as 60s.")
    ] = "",
    config: Config = DEFAULT_CONFIG,
    host: HostName = "",
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
) -> None:
    """Find out whether this network brings the listen MAC's frames to every host.

    Start `vipnft probe --listen` on the other hosts, then `vipnft probe` on one. Nothing need be
    applied; without a mode, --switch is meant. Exit code 1 unless every host gets every frame.
    """
    cluster = load(config)
    name = here(cluster, host)
    switch = switch or not (hub or multicast or igmp or cluster.mode)
    mode = pick_mode(hub, switch, multicast, igmp, file=cluster.mode)
    nics = cluster.nics(name)
    if listen:
        end = time.monotonic() + (seconds(duration) if duration else _FOREVER_S)
        _listen(cluster, name, mode, end)
        return
    if duration:
        raise UsageError("--for is how long to listen", fix="add --listen, or leave --for out")
    good = [_probe(cluster, name, nic, mode, count) for nic in nics]
    if not all(good):
        raise typer.Exit(1)


def _listen(cluster: "Cluster", name: str, mode: "Mode", until: float) -> None:
    """Tell what arrives of each run, until then or until interrupted."""
    from vipnft.host.probe_exchange import listener

    with listener(cluster, name, mode) as here:
        say(f"{name} listens on {', '.join(here.interfaces)}")
        try:
            for run in here.runs(until):
                say(
                    f"from {run.sender}: {run.listen} to the listen MAC, {run.control} to a MAC"
                    " that nobody has",
                )
        except KeyboardInterrupt:
            return


def _probe(cluster: "Cluster", name: str, nic: "Nic", mode: "Mode", count: int) -> bool:
    """Probe one segment and tell what came back; return whether all is well there."""
    from vipnft.host.probe_exchange import ask

    found = ask(cluster, name, nic, mode, count)
    say(f"{count} frames to {found.listen_mac} from {name} on {nic.interface}, {mode} mode")
    for other in cluster.weights:
        if other in found.heard:
            one = found.heard[other]
            say(f"  {other}: received {one.listen}, and {one.control} to a MAC that nobody has")
        elif other != name:
            say(f"  {other}: no answer")
    say(found.verdict.what)
    if found.verdict.fix:
        say(f"  fix: {found.verdict.fix}")
    return found.verdict.good
