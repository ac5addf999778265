"""The verbs of one host: apply, down."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Drain,
    HostName,
    Hub,
    Igmp,
    Multicast,
    Switch,
    here,
    load,
    pick_mode,
    whole_seconds,
)
from vipnft.cli.output import document, say
from vipnft.errors import UsageError
from vipnft.model import Cluster, Mode

if TYPE_CHECKING:
    from vipnft.host.change import Outcome

Takeover = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="This host is dead: take its buckets at once."),
]
Alive = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Only hosts named so are alive, whole or up to a dot: take the others' buckets.",
    ),
]


def apply(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    config: Config = DEFAULT_CONFIG,
    host: HostName = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the ruleset only.")] = False,
    format: Annotated[  # noqa: A002
        str, typer.Option(help="What --dry-run prints: nft (default) or json.", metavar="nft|json")
    ] = "",
    drain: Drain = "5m",
    takeover: Takeover = None,
    alive: Alive = None,
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
    cluster = load(config)
    mode = pick_mode(hub, switch, multicast, igmp, file=cluster.mode)
    name = here(cluster, host)
    if dry_run:
        _dry_run(cluster, name, mode, as_json=format == "json")
        return
    from vipnft.buckets.phases import owners_of
    from vipnft.host.apply import apply as apply_here

    dead = tuple(takeover or ()) + _others(cluster, alive or (), takeover or ())
    for_s = whole_seconds(drain)
    outcome = apply_here(cluster, name, mode, drain=for_s, dead=dead, reshuffle=reshuffle)
    say(*(f"vipnft: {note}" for note in outcome.notes), error=True)
    owned = owners_of(cluster, dead).count(name)
    on = ", ".join(nic.interface for nic in cluster.nics(name))
    where = f"{cluster.name}: {name} on {on}, {mode} mode"
    say(f"{where}: {_done(outcome, owned, cluster.buckets)}")
    for gone in set(takeover or ()) & set(cluster.weights):
        say(f"take {gone} out of {config} before the next apply, or it gets its buckets back")
    call_hooks(outcome)


def call_hooks(outcome: "Outcome") -> None:
    """Have hooks know of what was done; say what is wrong with them."""
    from vipnft.host import deeds

    if outcome.told:
        deeds.call_hooks(outcome.told, lambda line: say(f"vipnft: {line}", error=True))


def _others(cluster: Cluster, alive: Sequence[str], dead: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts that are none of those alive, where any are named; UsageError where one is
    named as dead, too."""
    named = {
        cluster.require_host(one if one in cluster.weights else one.partition(".")[0]).name
        for one in alive
    }
    if both := named & set(dead):
        raise UsageError(
            f"{min(both)} can't be alive and dead", fix="name it in --alive or in --takeover"
        )
    return tuple(host for host in cluster.weights if named and host not in named)


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


def _dry_run(cluster: Cluster, name: str, mode: Mode, *, as_json: bool) -> None:
    from vipnft.buckets.phases import owners_of, phases
    from vipnft.kernel import libc, link_glance, scratch
    from vipnft.ruleset import nftjson, transactions
    from vipnft.ruleset.tables import TABLES

    macs = {}
    for nic in cluster.nics(name):
        macs[nic.interface] = libc.mac_of(nic.interface) or transactions.STAND_IN_MAC
        if macs[nic.interface] == transactions.STAND_IN_MAC:
            say(
                f"vipnft: {nic.interface} is not on this machine; its MAC is shown as"
                f" {transactions.STAND_IN_MAC}",
                error=True,
            )
    share = phases(owners_of(cluster), {}, name, 0)
    vlans = link_glance.tagged(macs)
    commands = transactions.whole(cluster, name, mode, macs, share, vlans, granted=True)
    listing = scratch.listing(commands, TABLES, list(macs))
    if as_json:
        document(nftjson.render(commands), end="")
    else:
        document("".join(listing.values()), end="")


def down(config: Config = DEFAULT_CONFIG) -> None:  # noqa: ARG001
    """Give everything back: addresses, MAC, settings, nft tables, as before the first apply.

    What was applied is remembered on the host, so the cluster file is not read.
    """
    from vipnft.host.down import down as down_here

    outcome = down_here()
    say(*(f"vipnft: {note}" for note in outcome.notes), error=True)
    say("this host is as it was" if outcome.changed else "nothing is applied here")
    call_hooks(outcome)
