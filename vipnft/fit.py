# Can this machine be that host now, and how is it before anything is touched?
# Rule 1: nothing is changed here; a refusal says what to do.
"""The interface a host is to serve on, and the record of how it was."""

from dataclasses import replace

from vipnft.drift import wanted_sysctls
from vipnft.errors import UsageError
from vipnft.kernel import libc, sysctl
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, Cluster, Mode


def privileged() -> None:
    """Refuse to go on without the right to change the network: UsageError."""
    if not libc.capable(libc.CAP_NET_ADMIN):
        raise UsageError("changing the network needs root (CAP_NET_ADMIN)", fix="run it with sudo")


def fit(links: Links, cluster: Cluster, name: str, mode: Mode, before: Applied | None) -> Link:
    """Return the host's interface; UsageError if this machine can't be that host now."""
    interface = cluster.host(name).interface
    link = links.find(interface)
    if link is None:
        there = ", ".join(links.names())
        raise UsageError(
            f"interface {interface} is not on this machine (it has {there})",
            fix=f"set interface in the cluster file's [[host]] {name}",
        )
    if link.name != interface:
        raise UsageError(
            f"{interface} is another name of {link.name}", fix=f"write interface = {link.name!r}"
        )
    if link.master:
        raise UsageError(
            f"{interface} is a port of a bridge or bond, which takes its frames",
            fix="name the bridge or bond itself",
        )
    if link.loopback:
        raise UsageError(
            f"{interface} is the loopback interface", fix="name the one on the segment"
        )
    if not link.up:
        raise UsageError(f"{interface} is down", fix=f"ip link set {interface} up")
    if not link.carrier:
        raise UsageError(f"{interface} has no carrier", fix="plug it in, or wait for its link")
    if before and (before.mode, before.me.interface) != (mode, interface):
        raise UsageError(
            f"this host runs in {before.mode} mode on {before.me.interface},"
            f" not in {mode} mode on {interface}",
            fix="run `vipnft down` first",
        )
    if mode is Mode.SWITCH and link.mac == cluster.listen_mac:
        raise UsageError(
            f"{interface}'s own MAC is the listen MAC {link.mac}, which no switch may learn",
            fix="give the interface its own MAC back, or set another cluster.listen_mac",
        )
    if mode is Mode.HUB and before is None and link.mac == cluster.listen_mac:
        raise UsageError(
            f"{interface} has the listen MAC {link.mac} already, and nothing tells its own",
            fix=f"give it its own back: ip link set {interface} address MAC",
        )
    _macs(links, link, cluster, name)
    for vip in cluster.vips:
        what = links.taken(vip)
        if what:
            raise UsageError(f"{vip} is {what}", fix="take another address for the service")
        other = [holder for holder in links.holders(vip) if holder != "lo"]
        if other:
            raise UsageError(
                f"{vip} is an address of this host's {other[0]} already",
                fix="ip addr del it there, or take another VIP: `apply` itself puts the VIP on lo",
            )
    return link


def _macs(links: Links, link: Link, cluster: Cluster, name: str) -> None:
    """Refuse MACs that another interface or host has: the switch would learn them there."""
    for other in links.others(link):
        if other.mac == cluster.listen_mac:
            raise UsageError(
                f"{other.name} has the listen MAC {other.mac}, which no switch may learn",
                fix=f"give {other.name} another MAC, or set another cluster.listen_mac",
            )
    for host in cluster.hosts:
        if host.name != name and host.send_mac == link.mac:
            raise UsageError(
                f"{link.name}'s own MAC {link.mac} is the send_mac of {host.name}",
                fix="give each host a send_mac that no interface has",
            )


def record(
    links: Links, link: Link, before: Applied | None, cluster: Cluster, *, name: str, mode: Mode
) -> Applied:
    """Return the record of what is about to be applied; what was first there stays known."""
    missing = [str(vip) for vip in cluster.vips if not links.holders(vip)]
    added = before.addresses if before else ()
    fresh = Applied(
        cluster=cluster,
        host=name,
        mode=mode,
        owners=(),
        index=link.index,
        mac=link.mac,
        addresses=tuple(str(v) for v in cluster.vips if str(v) in added or str(v) in missing),
    )
    listen = cluster.listen_mac
    if before and before.index == link.index:
        ours = mode is Mode.SWITCH and (listen in before.filters or not links.listens(link, listen))
        filters = (listen,) if ours else ()
        return replace(fresh, mac=before.mac, sysctls=before.sysctls, filters=filters)
    ours = mode is Mode.SWITCH and not links.listens(link, listen)
    values = {key: sysctl.read(key) for key in wanted_sysctls(link.name, mode)}
    return replace(
        fresh,
        sysctls={key: value for key, value in values.items() if value is not None},
        filters=(listen,) if ours else (),
    )
