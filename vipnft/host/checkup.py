"""What `vipnft check` finds on this machine.

Rule 1: nothing is changed; what must be tried is tried in a scratch network namespace.
Rule 2: what `apply` would refuse is preflight's to say; here is what else speaks for or against.
Rule 3: a fix never tells to run `check`: its reader just did.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vipnft.buckets.phases import FOREIGN, OWNED, owners_of, phases
from vipnft.errors import KernelError, UsageError, VipnftError
from vipnft.host import duplicate, locks, preflight, record, stage_advice
from vipnft.host.preflight import Finding, Grade
from vipnft.host.timely import untimely
from vipnft.kernel import libc, nft, scratch, sysctl
from vipnft.kernel.links import LO_DOWN, LO_UP, Link, Links
from vipnft.model import Applied, Cluster, Mode, Nic
from vipnft.ruleset import affinity, elements, transactions
from vipnft.ruleset.nftjson import (
    CT_STATE,
    IIF,
    Commands,
    Stmt,
    fwd,
    match,
    payload,
    reject,
)
from vipnft.ruleset.tables import ARP, INET, NETDEV, TABLES, NftTable
from vipnft.store import opening

_EGRESS_SINCE = (5, 16)  # nftables wiki, "List of updates since Linux kernel 3.13"
_EGRESS_NFT = (1, 0, 1)


def machine(cluster: Cluster, name: str) -> list[Finding]:
    """Return what speaks for and against this machine as host `name`, in reading order; in a
    mode, if it is known: by the file, or by what is applied."""
    nics = cluster.nics(name)
    applied, known = _applied(cluster)
    with Links() as links:
        found = preflight.look(links, cluster, name)
        wanted = cluster.mode or (applied.mode if applied else None)
        return [
            *_versions(),
            *_ruleset(cluster, name, nics),
            *known,
            *preflight.findings(found, cluster, name, wanted, applied),
            *(_filter(links, link, nic, applied) for nic, link in _there(found, nics)),
            *stage_advice.findings(cluster, list(_there(found, nics))),
            *_others(cluster, found, nics),
            *_loopback(found),
            *_shares(cluster, name),
            *_silenced(links, applied, cluster, nics),
            *(finding for nic in nics for finding in _settings(nic)),
            *_conntrack(),
            *_other_tables(),
        ]


def secrecy(mode: int, file: Path) -> Iterator[Finding]:
    """Tell whether a cluster file is what others may read, by its mode: it holds the seed, by
    which a client can choose its host, and perhaps the store's password."""
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(
            Grade.WARN,
            f"{file} can be read by others, and holds the seed: who knows it can choose his host",
            f"chmod 600 {file}",
        )


def store(url: str, password_file: str) -> Iterator[Finding]:
    """Tell what is wrong, or unwise, with the agents' store; it is not asked."""
    try:
        for one in opening.advice(url, password_file) if url else ():
            yield Finding(Grade.WARN, one)
    except UsageError as error:
        yield Finding(Grade.FAIL, f"store: {error}", error.fix)


def _there(found: preflight.Machine, nics: Sequence[Nic]) -> Iterator[tuple[Nic, Link]]:
    for nic in nics:
        if nic.interface in found.links:
            yield nic, found.links[nic.interface]


def _applied(cluster: Cluster) -> tuple[Applied | None, list[Finding]]:
    """Return what is applied, as far as one may read it, and what `apply` would not like of it."""
    if os.geteuid() != 0:
        return None, []
    applied = None
    try:
        applied = record.load()
        if applied and not applied.leased:
            preflight.require_same_deal(applied.cluster, cluster)
    except VipnftError as error:
        return applied, [Finding(Grade.FAIL, str(error), error.fix)]
    if locks.tended():
        return applied, [Finding(Grade.WARN, locks.TENDED, locks.LEAVE_IT)]
    if applied and applied.leased:
        return applied, [Finding(Grade.WARN, locks.AGENT_GONE, locks.START_AGENT)]
    return applied, []


def _versions() -> Iterator[Finding]:
    release = os.uname().release
    if _number(release) >= _EGRESS_SINCE:
        yield Finding(Grade.OK, f"Linux {release}")
    else:
        yield Finding(
            Grade.FAIL, f"Linux {release}: netdev egress came with 5.16", "use a newer kernel"
        )
    version = nft.version()
    if _number(version) >= _EGRESS_NFT:
        yield Finding(Grade.OK, f"libnftables {version}")
    else:
        yield Finding(Grade.FAIL, f"libnftables {version}: below 1.0.1", "upgrade nftables")


def _number(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version such as 6.1.0-18-amd64."""
    numbers = re.match(r"[\d.]*\d", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _ruleset(cluster: Cluster, name: str, nics: Sequence[Nic]) -> Iterator[Finding]:
    """Load each feature by itself where it harms nobody, then the real thing."""
    try:
        yield from _loaded(cluster, name, [nic.interface for nic in nics])
    except UsageError as error:  # nothing can be tried here
        yield Finding(Grade.FAIL, str(error), error.fix)


def _loaded(cluster: Cluster, name: str, interfaces: Sequence[str]) -> Iterator[Finding]:
    whole = True
    for what, fix, table, commands in _features(interfaces[0], cluster):
        tried = _tried(what, [*table.fresh(), *commands], (table,), interfaces[:1], fix)
        whole = whole and tried.grade is Grade.OK
        yield tried
    fix = "report it, with this output" if whole else "see what is lacking, above"
    share = phases(owners_of(cluster), {}, name, 0)
    macs = {one: libc.mac_of(one) or transactions.STAND_IN_MAC for one in interfaces}
    for mode in Mode:
        commands = transactions.whole(cluster, name, mode, macs, share, granted=True)
        yield _tried(f"the ruleset for --{mode}", commands, TABLES, interfaces, fix)
    if whole and cluster.agents.store:
        yield from _timely(cluster, name, macs)


def _timely(cluster: Cluster, name: str, macs: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether an agent could make a large change of the table within its lease: half of all
    buckets, as when one of two hosts takes over from the other."""
    size = cluster.buckets
    foreign = [FOREIGN] * size
    half = [OWNED] * (size // 2) + foreign[size // 2 :]
    mode = cluster.mode or Mode.SWITCH
    commands = transactions.whole(cluster, name, mode, macs, foreign, granted=False)

    def change() -> Commands:
        return elements.change([elements.cell(phase) for phase in foreign], half)

    with suppress(KernelError):  # what the kernel refuses was said
        why = untimely(cluster, scratch.price(commands, change, list(macs)))
        if why:
            yield Finding(Grade.FAIL, str(why), why.fix)


def _tried(
    what: str,
    commands: Commands,
    tables: tuple[NftTable, ...],
    interfaces: Sequence[str],
    fix: str,
) -> Finding:
    """Load commands in a scratch network namespace; `fix` is for what no error knows better."""
    try:
        scratch.listing(commands, tables, interfaces)
    except KernelError as error:
        better = error.fix if error.fix != nft.SEE_CHECK else ""
        return Finding(Grade.FAIL, f"{what}: {error}", better or fix)
    return Finding(Grade.OK, f"the kernel takes {what}")


def _features(interface: str, cluster: Cluster) -> Iterator[tuple[str, str, NftTable, Commands]]:
    """Yield what a ruleset is made of, and what brings it where it is lacking. The chains' device
    is the stand-in: Linux 6.1 takes none on a device that isn't there. Only what is needed is
    tried: where conntrack is a module, that would load it."""
    drop: Stmt = {"drop": None}

    def netdev(hook: str, *body: Stmt) -> Commands:
        return NETDEV.chain("probe", list(body), hook=hook, dev=interface, prio=0)

    def inet(*body: Stmt) -> Commands:
        return INET.chain("probe", list(body), hook="input", prio=-150)

    key = {"mod": 256, "offset": 0, "seed": 1, "expr": payload("ip", "saddr")}
    yield (
        "netdev egress",
        "use a kernel with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_EGRESS",
        NETDEV,
        netdev("egress", drop),
    )
    yield (
        "hashes of clients",
        "modprobe nft_hash",
        NETDEV,
        netdev("ingress", match({"jhash": key}, 1), drop),
    )
    yield (
        "forwarding at ingress",
        "modprobe nft_fwd_netdev",
        NETDEV,
        netdev("ingress", fwd(IIF)),
    )
    yield (
        "an arp table",
        "use a kernel with CONFIG_NF_TABLES_ARP",
        ARP,
        ARP.chain("probe", [drop], hook="output", prio=0),
    )
    yield "rejection", "modprobe nft_reject_inet", INET, inet(reject("port-unreachable"))
    _, by_port = affinity.dealt(cluster.services)
    if by_port or any(service.quic for service in cluster.services):
        state = match(CT_STATE, "established", "in")
        yield "conntrack", "modprobe nft_ct", INET, inet(state, drop)


def _filter(links: Links, link: Link, nic: Nic, applied: Applied | None) -> Finding:
    """Tell what the driver does with a second MAC; only known once it has one."""
    driver = stage_advice.driver(link)
    listen = nic.listen_mac(applied.mode) if applied else ""
    if listen not in links.filters(link):
        return Finding(
            Grade.OK,
            f"{link.name}'s driver is {driver}; whether it filters a second unicast MAC shows"
            " after apply (without a filter the kernel makes it promiscuous, which works too)",
        )
    if link.promiscuity:
        return Finding(
            Grade.OK, f"{link.name} ({driver}) is promiscuous: it works, and costs some CPU"
        )
    return Finding(Grade.OK, f"{link.name} ({driver}) has the listen MAC in its filter")


def _others(cluster: Cluster, found: preflight.Machine, every: Sequence[Nic]) -> Iterator[Finding]:
    """Ask the segments who has the VIPs, where that can be done."""
    there = _there(found, every)
    nics = [nic for nic, link in there if link.up and link.carrier and link.mac]
    if os.geteuid() != 0 or not nics:
        return
    try:
        with duplicate.Inquiry(cluster, nics) as inquiry:
            claims = inquiry.claims()
    except UsageError as error:
        yield Finding(Grade.WARN, f"who else has the VIPs was not asked: {error}", error.fix)
        return
    for claim in sorted(claims):
        yield Finding(Grade.FAIL, str(claim), duplicate.REMEDY)
    for why in inquiry.unasked if not found.without_ipv6 else ():
        yield Finding(Grade.WARN, why, "see that the interface has a link-local address")


def _shares(cluster: Cluster, name: str) -> Iterator[Finding]:
    """Tell of a weight that is too small for one bucket."""
    if cluster.weights[name] and name not in owners_of(cluster):
        yield Finding(
            Grade.WARN,
            f"{name} has weight {cluster.weights[name]} of {sum(cluster.weights.values())}, which"
            f" is less than one of {cluster.buckets} buckets: it gets no client",
            "give it more weight, or the cluster more buckets",
        )


def _silenced(
    links: Links, applied: Applied | None, cluster: Cluster, nics: Sequence[Nic]
) -> Iterator[Finding]:
    """Tell of addresses that nobody will find any more: arp_ignore, which keeps the stack from
    answering for the VIPs, keeps it from answering for all that stands on another interface."""
    known = {str(vip) for vip in cluster.vips} | set(applied.addresses if applied else ())
    found = links.elsewhere([nic.interface for nic in nics])
    more = {address: where for address, where in found.items() if address not in known}
    if not any(_answered(nic, applied) for nic in nics):
        return
    for where in dict.fromkeys(more.values()):
        addresses = ", ".join(one for one in more if more[one] == where)
        yield Finding(
            Grade.WARN,
            f"{addresses} on {where}: where routers find it by ARP on the segment, they no longer"
            " do, since arp_ignore is set there",
            "put it on the interface itself",
        )


def _answered(nic: Nic, applied: Applied | None) -> bool:
    """Tell whether the stack answers ARP on an interface for the addresses of others, or did."""
    key = f"net/ipv4/conf/{nic.interface}/arp_ignore"
    before = applied.sysctls.get(key) if applied else None
    return {before or sysctl.read(key), sysctl.read("net/ipv4/conf/all/arp_ignore")} == {"0"}


def _loopback(found: preflight.Machine) -> Iterator[Finding]:
    if any(link.loopback and link.name == "lo" and not link.up for link in found.every):
        yield Finding(Grade.FAIL, LO_DOWN, LO_UP)


def _settings(nic: Nic) -> Iterator[Finding]:
    values = [sysctl.read(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", nic.interface)]
    strict = max(int(value or 0) for value in values)
    if strict == 1:
        yield Finding(
            Grade.WARN,
            f"rp_filter is strict on {nic.interface}: clients whose route back leaves by"
            " another interface are dropped",
            f"sysctl net.ipv4.conf.{nic.interface}.rp_filter=2, unless all routes leave by it",
        )
    else:
        yield Finding(Grade.OK, f"rp_filter is {'loose' if strict else 'off'} on {nic.interface}")
    if sysctl.read(f"net/ipv4/conf/{nic.interface}/forwarding") == "1":
        yield Finding(
            Grade.WARN,
            f"{nic.interface} forwards: in hub mode it must not, and apply --hub turns it off",
            "use --switch on hosts that forward",
        )


def _conntrack() -> Iterator[Finding]:
    most = sysctl.read("net/netfilter/nf_conntrack_max")
    count = sysctl.read("net/netfilter/nf_conntrack_count")
    if most is None or count is None:
        return
    full = int(count) > int(most) * 0.8
    yield Finding(
        Grade.WARN if full else Grade.OK,
        f"conntrack holds {count} of {most} connections",
        "raise net.netfilter.nf_conntrack_max" if full else "",
    )


def _other_tables() -> Iterator[Finding]:
    others = [f"{f} {n}" for f, n in nft.names() if NftTable(f, n) not in TABLES]
    legacy = Path("/proc/net/ip_tables_names")
    with suppress(OSError):
        others += [f"iptables {name}" for name in legacy.read_text(encoding="ascii").split()]
    if others:
        yield Finding(
            Grade.WARN,
            f"other tables are loaded ({', '.join(others)}); they may drop the VIP's packets too",
            "see `nft list ruleset`: let the VIP's traffic pass them",
        )
    else:
        yield Finding(Grade.OK, "no other nft or iptables tables")
