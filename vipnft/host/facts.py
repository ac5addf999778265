"""What the kernel holds of what was applied."""

from collections import Counter
from collections.abc import Collection, Mapping

from vipnft.buckets.phases import Phase, phases
from vipnft.host import loaded
from vipnft.host.drift import Facts, LinkFacts, drift
from vipnft.host.settings import ipv6_switches, wanted_sysctls
from vipnft.host.stage import Stage
from vipnft.kernel import clock, flows, link_glance, nft, scratch, sockets, sysctl
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, Protocol
from vipnft.ruleset import affinity, elements, transactions
from vipnft.ruleset.nftjson import Commands
from vipnft.ruleset.stage import StageFacts
from vipnft.ruleset.strays import STRAYS
from vipnft.ruleset.tables import NETDEV, TABLES


def current(applied: Applied) -> tuple[Phase, ...]:
    """Return what this host is to do with each bucket by now."""
    return phases(applied.owners, applied.drains, applied.host, clock.boottime())


def cells(size: int) -> list[elements.Cell]:
    """Return what the kernel holds of each bucket."""
    found = {name: nft.elements(table, name) for table, name in elements.CONTAINERS}
    return elements.read(found, size)


def inspect(applied: Applied) -> tuple[str, ...]:
    """Return how the kernel differs from what was applied, a line each."""
    with Links() as links:
        facts = gather(links, applied)
    expected = expectation(applied, macs(applied, facts.links), tagged(facts.links))
    return drift(applied, expected, facts, current(applied))


def counters() -> Mapping[int, tuple[int, int]]:
    """Return (packets, bytes) that this host took of each bucket; empty without rules."""
    return elements.counters(nft.elements(NETDEV, "load"))


def armed() -> bool:
    """Tell whether a lease may be in force: a slot of it is armed."""
    return any(nft.elements(NETDEV, f"armed{slot}") for slot in (0, 1))


def strayed() -> dict[int, int]:
    """Return how many frames came from the listen MAC, by the number of the interface."""
    found = elements.counters(nft.elements(NETDEV, STRAYS))
    return {number: packets for number, (packets, _) in found.items()}


def strays(applied: Applied, strayed: Mapping[int, int]) -> dict[str, tuple[int, str]]:
    """Return how many frames came from the listen MAC since the rules were loaded, by interface,
    of those `strayed`; and by which port, as far as this host is the bridge, else ""."""
    if not any(strayed.values()):
        return {nic.interface: (0, "") for nic in applied.nics}
    with Links() as links:
        own = present(links, applied)
        return {
            nic.interface: (
                strayed.get(number, 0),
                ", ".join(links.ports(own[nic.interface], nic.listen_mac(applied.mode)))
                if nic.interface in own
                else "",
            )
            for number, nic in enumerate(applied.nics)
        }


def stages(applied: Applied) -> dict[str, StageFacts]:
    """Return what is or should be in front of the rules, by interface."""
    with Links() as links:
        return Stage().seen(applied, present(links, applied))


def share(applied: Applied) -> list[Phase | None]:
    """Return what the kernel does with each bucket, with the time left by its own timers."""
    return [cell.phase for cell in cells(applied.cluster.buckets)]


def connections(applied: Applied) -> Counter[int]:
    """Return how many live connections this host has in each bucket: TCP's, and QUIC's."""
    c = applied.cluster
    quic = [service for service in c.services if service.quic]
    live = {
        Protocol.TCP: sockets.clients(c.vips),
        Protocol.UDP: flows.answered(c.vips) if quic else Counter(),
    }
    found: Counter[int] = Counter()
    for protocol, ends in live.items():
        for (client, port, service), count in ends.items():
            if protocol is Protocol.UDP and not any(affinity.serves(one, service) for one in quic):
                continue
            hash_key = affinity.hash_key_at(c.services, protocol, service)
            found[affinity.bucket(hash_key, client, c.seed, c.buckets, port)] += count
    return found


def gather(
    links: Links, applied: Applied, *, rules: bool = True, stage: Stage | None = None
) -> Facts:
    """Return what the kernel holds now of what `applied` is about; without `rules` nothing of the
    nft tables. `stage` is what this process holds of the XDP stage."""
    with_vlans = link_glance.tagged([nic.interface for nic in applied.nics])
    found = present(links, applied)
    return Facts(
        links={
            name: LinkFacts(
                index=link.index,
                mac=link.mac,
                usable=link.up and link.carrier,
                enslaved=link.master is not None,
                kind=link.kind,
                tagged=name in with_vlans,
                filters=links.filters(link),
                groups=links.groups(link),
            )
            for name, link in found.items()
        },
        carriers=links.carriers(*applied.cluster.vips),
        sysctls={
            key: sysctl.read(key)
            for key in (
                *wanted_sysctls((nic.interface for nic in applied.nics), applied.mode),
                *ipv6_switches(applied.nics),
            )
        },
        tables=nft.listing(TABLES) if rules else {},
        cells=cells(applied.cluster.buckets) if rules else (),
        stages=(stage or Stage()).seen(applied, found),
    )


def present(links: Links, applied: Applied) -> dict[str, Link]:
    """Return this host's interfaces on the segments, without those that are gone."""
    found = {nic.interface: links.find(nic.interface) for nic in applied.nics}
    return {name: link for name, link in found.items() if link is not None}


def macs(applied: Applied, links: Mapping[str, Link | LinkFacts]) -> dict[str, str]:
    """Return each interface's own MAC, of one that is gone the last known."""
    last = {name: worn.mac for name, worn in applied.worn.items()}
    return last | {name: link.mac for name, link in links.items()}


def tagged(links: Mapping[str, LinkFacts]) -> frozenset[str]:
    """Return the interfaces on which VLANs stand."""
    return frozenset(name for name, link in links.items() if link.tagged)


def expectation(
    applied: Applied, macs: Mapping[str, str], tagged: Collection[str]
) -> dict[str, str]:
    """Return the nft tables' text, without buckets, as this kernel lists them if all is well."""
    commands = skeleton(applied, macs, tagged)
    known = loaded.listing(commands)
    if known is not None:
        return dict(known)
    return scratch.listing(commands, TABLES, [nic.interface for nic in applied.nics])


def skeleton(applied: Applied, macs: Mapping[str, str], tagged: Collection[str]) -> Commands:
    """Return the transaction that loads all of what is applied but for the buckets."""
    a = applied
    return transactions.whole(
        a.cluster, a.host, a.mode, macs, (), tagged, granted=True, leased=a.leased
    )
