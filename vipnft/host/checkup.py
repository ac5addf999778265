"""What `vipnft check` finds on this machine.

Rule 1: nothing is changed; what must be tried is tried in a scratch network namespace.
Rule 2: a finding is one line and, unless all is well, one fix.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vipnft.buckets.phases import owners_of, phases
from vipnft.errors import VipnftError
from vipnft.host import record
from vipnft.kernel import libc, nft, scratch, sysctl
from vipnft.kernel.links import ONE_MAC, Link, Links
from vipnft.model import Cluster, Mode, Nic
from vipnft.ruleset import transactions
from vipnft.ruleset.nftjson import Commands
from vipnft.ruleset.tables import INET, NETDEV, TABLES, NftTable

_EGRESS_SINCE = (5, 16)  # nftables wiki, "List of updates since Linux kernel 3.13"
_EGRESS_NFT = (1, 0, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `grade` is ok, warn or FAIL."""

    grade: str
    what: str
    fix: str = ""


def machine(cluster: Cluster, name: str) -> list[Finding]:
    """Return what speaks for and against this machine as host `name`, in reading order."""
    nics = cluster.nics(name)
    with Links() as links:
        return [
            *_versions(),
            *_ruleset(cluster, name, nics),
            *(finding for nic in nics for finding in _interface(links, nic)),
            *_addresses(links, cluster),
            *(finding for nic in nics for finding in _settings(nic)),
            *_conntrack(),
            *_other_tables(),
        ]


def _versions() -> Iterator[Finding]:
    release = os.uname().release
    if _number(release) >= _EGRESS_SINCE:
        yield Finding("ok", f"Linux {release}")
    else:
        yield Finding(
            "FAIL", f"Linux {release}: netdev egress came with 5.16", "use a newer kernel"
        )
    version = nft.version()
    if _number(version) >= _EGRESS_NFT:
        yield Finding("ok", f"libnftables {version}")
    else:
        yield Finding("FAIL", f"libnftables {version}: below 1.0.1", "upgrade nftables")


def _number(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version such as 6.1.0-18-amd64."""
    numbers = re.match(r"[\d.]*\d", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _ruleset(cluster: Cluster, name: str, nics: Sequence[Nic]) -> Iterator[Finding]:
    """Load each feature by itself where it harms nobody, then the real thing."""
    interfaces = [nic.interface for nic in nics]
    for what, table, commands in _features():
        try:
            scratch.listing([*table.fresh(), *commands], (table,), interfaces[:1])
            yield Finding("ok", what)
        except VipnftError as error:
            yield Finding("FAIL", f"{what}: {error}", error.fix or "load the kernel's nft modules")
    share = phases(owners_of(cluster), {}, name, 0)
    macs = {one: libc.mac_of(one) or transactions.STAND_IN_MAC for one in interfaces}
    for mode in Mode:
        commands = transactions.whole(cluster, name, mode, macs, share, granted=True)
        try:
            scratch.listing(commands, TABLES, interfaces)
            yield Finding("ok", f"the kernel takes the ruleset for --{mode}")
        except VipnftError as error:
            yield Finding("FAIL", f"the ruleset for --{mode}: {error}", error.fix)


def _features() -> Iterator[tuple[str, NftTable, Commands]]:
    drop = [{"drop": None}]
    egress = NETDEV.chain("probe", drop, hook="egress", dev="lo", prio=0)
    yield "netdev egress", NETDEV, egress
    tracked = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}
    chain = INET.chain("probe", [tracked, *drop], hook="prerouting", prio=-150)
    yield "conntrack", INET, chain


def _interface(links: Links, nic: Nic) -> Iterator[Finding]:
    link = links.find(nic.interface)
    if link is None:
        there = ", ".join(links.names())
        yield Finding(
            "FAIL",
            f"interface {nic.interface} is not on this machine (it has {there})",
            "set the host's interface in the cluster file",
        )
        return
    if not link.up or not link.carrier:
        yield Finding(
            "FAIL",
            f"{link.name} is {'without carrier' if link.up else 'down'}",
            "plug it in" if link.up else f"ip link set {link.name} up",
        )
    elif link.master:
        yield Finding(
            "FAIL",
            f"{link.name} is a port of a bridge or bond: its frames are not this host's",
            "name the bridge or bond itself as the interface",
        )
    else:
        yield Finding("ok", f"{link.name} is up, {link.mac}")
    for other in links.others(link):
        if other.mac == nic.unicast_mac:
            yield Finding(
                "FAIL",
                f"{other.name} has the listen MAC, which no switch may learn",
                f"give {other.name} another MAC",
            )
    yield _filter(links, link, nic)


def _filter(links: Links, link: Link, nic: Nic) -> Finding:
    """Tell what the driver does with a second MAC; only known once it has one."""
    driver = _driver(link)
    if driver == "macvlan":
        return Finding("warn", f"{link.name} is a macvlan, which --switch can't use", ONE_MAC)
    applied = record.load() if os.geteuid() == 0 else None
    listen = nic.listen_mac(applied.mode) if applied else ""
    if listen not in links.filters(link):
        return Finding(
            "ok",
            f"{link.name}'s driver is {driver}; whether it filters a second unicast MAC shows"
            " after apply (without a filter the kernel makes it promiscuous, which works too)",
        )
    if link.promiscuity:
        return Finding("ok", f"{link.name} ({driver}) is promiscuous: it works, and costs some CPU")
    return Finding("ok", f"{link.name} ({driver}) has the listen MAC in its filter")


def _driver(link: Link) -> str:
    try:
        return (Path("/sys/class/net") / link.name / "device/driver").resolve(strict=True).name
    except OSError:
        return link.kind or "virtual"


def _addresses(links: Links, cluster: Cluster) -> Iterator[Finding]:
    carriers = links.carriers(*cluster.vips)
    for vip in cluster.vips:
        what = links.conflict(vip)
        if what:
            yield Finding("FAIL", f"{vip} is {what}", "take another address for the service")
        others = [name for name in carriers[str(vip)] if name != "lo"]
        if others:
            yield Finding(
                "FAIL",
                f"{vip} is an address of {others[0]} already",
                f"ip addr del it from {others[0]}: apply puts it on lo",
            )


def _settings(nic: Nic) -> Iterator[Finding]:
    values = [sysctl.read(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", nic.interface)]
    strict = max(int(value or 0) for value in values)
    if strict == 1:
        yield Finding(
            "warn",
            f"rp_filter is strict on {nic.interface}: clients whose route back leaves by"
            " another interface are dropped",
            f"sysctl net.ipv4.conf.{nic.interface}.rp_filter=2, unless all routes leave by it",
        )
    else:
        yield Finding("ok", f"rp_filter is {'loose' if strict else 'off'} on {nic.interface}")
    if sysctl.read(f"net/ipv4/conf/{nic.interface}/forwarding") == "1":
        yield Finding(
            "warn",
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
        "warn" if full else "ok",
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
            "warn",
            f"other tables are loaded ({', '.join(others)}); they may drop the VIP's packets too",
            "see `nft list ruleset`: let the VIP's traffic pass them",
        )
    else:
        yield Finding("ok", "no other nft or iptables tables")
