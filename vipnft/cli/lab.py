"""The verbs of the lab: up, down, exec, demo."""

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import pick_mode
from vipnft.cli.output import document, say
from vipnft.errors import UsageError, VipnftError

if TYPE_CHECKING:
    from vipnft.lab.demo import DemoResult

app = typer.Typer(
    help="N hosts, a segment, a router and clients, in network namespaces.", no_args_is_help=True
)

Name = Annotated[str, typer.Option(help="Of several labs at once, this one.")]
Hosts = Annotated[int, typer.Option(help="How many hosts: web1, web2, ...")]
Hub = Annotated[bool, typer.Option("--hub", help="The segment is a bridge that learns nothing.")]
Switch = Annotated[bool, typer.Option("--switch", help="The segment is a bridge that learns.")]
Multicast = Annotated[bool, typer.Option("--multicast", help="Likewise; for that mode.")]
Igmp = Annotated[bool, typer.Option("--igmp", help="The segment is a bridge that snoops.")]
_BAR_CHARS = 40


@app.command()
def up(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    hosts: Hosts = 4,
    name: Name = "lab",
    agents: Annotated[bool, typer.Option("--agents", help="An agent on each host.")] = False,
    store: Annotated[
        str, typer.Option(metavar="URL", help="The agents' store; else a file of the lab's.")
    ] = "",
) -> None:
    """Bring a lab up; it stays until `lab down`, or until its one process is killed.

    With --agents: kill a host (`lab exec web2 -- pkill vipnft`), and watch (`lab exec web1 --
    vipnft status --cluster`).
    """
    from vipnft.lab.lab import Lab

    if store and not agents:
        raise UsageError("--store goes with --agents", fix="add --agents, or leave it out")
    lab = Lab.up(name, hosts, pick_mode(hub, switch, multicast, igmp))
    enter = f"vipnft lab exec{'' if name == 'lab' else f' --name {name}'} {lab.hosts[0]} --"
    say(f"lab {name!r} is up (process {lab.pid}): {', '.join(lab.nodes)}")
    if not agents:
        say(f"try: {enter} vipnft apply --{lab.mode}")
        return
    from vipnft.lab.agents import start

    logs = start(lab, store)
    say(f"agents run on all hosts; their logs: {logs}/*.log")
    say(f"try: {enter} vipnft status --cluster")


@app.command()
def down(name: Name = "lab") -> None:
    """Take a lab down, with every process in it."""
    from vipnft.lab.lab import Lab

    Lab.find(name).down()
    say(f"lab {name!r} is gone")


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    node: Annotated[str, typer.Argument(help="web1, router, clients, segment, ...")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="What to run there.")],
    name: Name = "lab",
) -> None:
    """Run a command in one of the lab's nodes; its exit code is this one's."""
    from vipnft.lab.lab import Lab

    line = Lab.find(name).command(node, command)
    os.execvp(line[0], line)  # noqa: S606


@app.command()
def demo(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    hosts: Hosts = 4,
    clients: Annotated[int, typer.Option(help="How many clients, an address each.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Do the main job in a lab of its own: apply everywhere, connect, count on the wire."""
    from vipnft.lab.demo import demo as run_demo

    result = run_demo(
        pick_mode(hub, switch, multicast, igmp), hosts, clients, name=f"demo-{os.getpid()}"
    )
    document(json.dumps(_document(result), indent=1) if as_json else _text(result))
    if not result.flawless:
        raise VipnftError("not every client was answered exactly once", fix="see the figures above")


def _document(result: "DemoResult") -> dict[str, object]:
    """Return the result as --json has it: the names and their order are a promise to programs."""
    return {
        "mode": result.mode,
        "clients": result.clients,
        "hosts": [dataclasses.asdict(host) for host in result.hosts],
        "errors": result.errors,
        **dataclasses.asdict(result.connections),
        "arp_requests": result.arp.requests,
        "arp_replies": result.arp.replies,
        "vip_macs": result.arp.vip_macs,
        "listen_mac": result.listen_mac,
        "learned": result.learned,
        "up_seconds": result.seconds.up,
        "ready_seconds": result.seconds.ready,
        "clients_seconds": result.seconds.clients,
    }


def _text(result: "DemoResult") -> str:
    most = max(host.answers for host in result.hosts) or 1
    lines = [
        f"{result.mode} mode: {len(result.hosts)} hosts, one address,"
        f" {result.clients} clients with an address each",
        "",
    ]
    for host in result.hosts:
        bar = "█" * round(_BAR_CHARS * host.answers / most)
        share = host.answers / result.clients
        lines.append(f"  {host.name:<6} {bar:<{_BAR_CHARS}} {host.answers:>5}  {share:.1%}")
    macs = ", ".join(f"{mac} at {' '.join(p)}" for mac, p in sorted(result.learned.items()))
    learned = "LEARNED" if result.listen_mac_learned else "never learned, so every host gets it"
    seen, seconds = result.connections, result.seconds
    lines += [
        "",
        f"  connections  {seen.syns} asked for, {seen.syn_acks} answers on the wire,"
        f" {seen.doubles} double, {seen.unanswered} unanswered",
        f"  ARP          {result.arp.requests} asked for, {result.arp.replies} answered",
        f"  the switch   {macs or 'learned nothing: it is a hub'}",
        f"  listen MAC   {result.listen_mac}: {learned}",
        f"  time         lab {seconds.up:.1f} s, apply and services {seconds.ready:.1f} s,"
        f" clients {seconds.clients:.1f} s",
        "",
    ]
    return "\n".join(lines)
