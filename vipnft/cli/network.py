"""The verbs that look at and speak to the network: announce, probe."""

import secrets
import socket
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Hub,
    Igmp,
    Multicast,
    Switch,
    load,
    pick_mode,
    seconds,
)
from vipnft.errors import UsageError

if TYPE_CHECKING:
    from vipnft.host.probe import Message
    from vipnft.kernel.packet_socket import Port
    from vipnft.model import Cluster, Mode, Nic

_PAUSE_S = 0.02  # seconds between two frames, so that no storm control mistakes them for one
_FOREVER_S = 1e9  # seconds
_ANSWERS_S = 2.0  # seconds for which answers are waited for


def announce(config: Config = DEFAULT_CONFIG) -> None:  # noqa: ARG001
    """Tell the segment where the VIPs are: gratuitous ARP, unsolicited advertisements.

    `apply` and `agent` do so by themselves. What was applied counts; the file is not read.
    """
    from vipnft.host import announce, record

    applied = record.load()
    if applied is None:
        raise UsageError("nothing is applied here", fix="vipnft apply --switch")
    count = announce.announce(applied)
    print(f"{len(applied.cluster.vips)} addresses announced, in {count} frames")


def probe(
    listen: Annotated[
        bool, typer.Option("--listen", help="Tell what arrives here, until interrupted.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many frames to send.")] = 5,
    duration: Annotated[
        str, typer.Option("--for", metavar="TIME", help="With --listen: how long, such as 60s.")
    ] = "",
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="This host's name; else the machine's hostname.")] = "",
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
    name = host or socket.gethostname()
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
    """Count what arrives of each run, and tell its sender in the end."""
    from vipnft.host.announce import ethernet
    from vipnft.host.probe import ETHERTYPE, Message
    from vipnft.kernel import libc
    from vipnft.kernel.packet_socket import Port, receive
    from vipnft.model import Mode

    heard: Counter[tuple[str, str]] = Counter()
    others = set(cluster.weights) - {name}
    with ExitStack() as stack:
        ports = []
        for nic in cluster.nics(name):
            ports.append(stack.enter_context(Port(nic.interface, ETHERTYPE)))
            if mode is Mode.IGMP:
                ports[-1].join(nic.group)
        print(f"{name} listens on {', '.join(port.interface for port in ports)}", flush=True)
        try:
            while (found := receive(ports, until)) is not None:
                port, frame = found
                message = Message.load(frame[14:])
                if message is None or message.cluster != cluster.name or message.host not in others:
                    continue
                heard[message.run, message.kind] += 1
                if message.kind == "end":
                    listened, control = (heard[message.run, k] for k in ("listen", "control"))
                    answer = Message(
                        kind="heard", cluster=cluster.name, host=name, run=message.run,
                        listen=listened, control=control,
                    )  # fmt: skip
                    own = libc.mac_of(port.interface) or ""
                    port.send(ethernet(frame[6:12].hex(":"), own, ETHERTYPE, answer.dump()))
                    print(
                        f"from {message.host}: {listened} to the listen MAC, {control} to a MAC"
                        " that nobody has",
                        flush=True,
                    )
        except KeyboardInterrupt:
            return


def _probe(cluster: "Cluster", name: str, nic: "Nic", mode: "Mode", count: int) -> bool:
    from vipnft.host.announce import ethernet
    from vipnft.host.probe import ETHERTYPE, Message, control_mac, verdict
    from vipnft.kernel import libc
    from vipnft.kernel.packet_socket import Port
    from vipnft.model import BROADCAST

    run, listen_mac = secrets.token_hex(8), nic.listen_mac(mode)
    own = libc.mac_of(nic.interface) or ""
    targets = {"listen": listen_mac, "control": control_mac(mode, run)}
    with Port(nic.interface, ETHERTYPE) as port:
        for kind in [*targets] * count + ["end"]:
            message = Message(kind=kind, cluster=cluster.name, host=name, run=run)
            target = targets.get(kind, BROADCAST)
            port.send(ethernet(target, own, ETHERTYPE, message.dump()))
            time.sleep(_PAUSE_S)
        heard = _answers(port, run, set(cluster.weights) - {name})
    print(f"{count} frames to {listen_mac} from {name} on {nic.interface}, {mode} mode")
    for other in cluster.weights:
        if other in heard:
            one = heard[other]
            print(f"  {other}: received {one.listen}, and {one.control} to a MAC that nobody has")
        elif other != name:
            print(f"  {other}: no answer")
    found = verdict(count, heard, name, mode, set(cluster.weights) - {name, *heard})
    print(found.what)
    if found.fix:
        print(f"  fix: {found.fix}")
    return found.good


def _answers(port: "Port", run: str, wanted: set[str]) -> "dict[str, Message]":
    """Wait until every host has told what it heard, or for long enough."""
    from vipnft.host.probe import Message

    end = time.monotonic() + _ANSWERS_S
    found: dict[str, Message] = {}
    while wanted - set(found) and (frame := port.receive(end)) is not None:
        message = Message.load(frame[14:])
        if message is None or (message.run, message.kind) != (run, "heard"):
            continue
        if message.host in wanted:
            found[message.host] = message
    return found
