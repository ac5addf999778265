"""The interfaces a host is to serve on, and the record of how they were.

Rule 1: nothing is changed here; a refusal says what to do.
"""

from vipnft.errors import UsageError
from vipnft.kernel import libc
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, Cluster, Mode, Nic


def require_privileged() -> None:
    """Refuse to go on without the right to change the network: UsageError."""
    if not libc.capable(libc.CAP_NET_ADMIN):
        raise UsageError("changing the network needs root (CAP_NET_ADMIN)", fix="run it with sudo")


def fit(
    links: Links, cluster: Cluster, name: str, mode: Mode, before: Applied | None
) -> dict[str, Link]:
    """Return the host's interfaces by name; UsageError if this machine can't be that host now."""
    if before and before.mode is not mode:
        raise UsageError(
            f"this host runs in {before.mode} mode, not in {mode} mode",
            fix="run `vipnft down` first",
        )
    nics = cluster.nics(name)
    found = {nic.interface: _fit(links, nic, mode, before) for nic in nics}
    for gone in before.nics if before else ():
        if gone.interface not in found:
            raise UsageError(
                f"this host runs on {gone.interface}, which the cluster file no longer names",
                fix="run `vipnft down` first",
            )
    for host in cluster.hosts:
        macs = {link.mac: link.name for link in found.values() if host.name != name}
        for mac in set(macs) & set(host.send_macs.values()):
            raise UsageError(
                f"{macs[mac]}'s own MAC {mac} is the send_mac of {host.name}",
                fix="give each host a send_mac that no interface has",
            )
    carriers = links.carriers(*cluster.vips)
    for vip in cluster.vips:
        what = links.conflict(vip)
        if what:
            raise UsageError(f"{vip} is {what}", fix="take another address for the service")
        other = [carrier for carrier in carriers[str(vip)] if carrier != "lo"]
        if other:
            raise UsageError(
                f"{vip} is an address of this host's {other[0]} already",
                fix="ip addr del it there, or take another VIP: `apply` itself puts the VIP on lo",
            )
    return found


def _fit(links: Links, nic: Nic, mode: Mode, before: Applied | None) -> Link:
    interface, listen = nic.interface, nic.listen_mac(mode)
    link = links.find(interface)
    if link is None:
        there = ", ".join(links.names())
        raise UsageError(
            f"interface {interface} is not on this machine (it has {there})",
            fix="set interface in the cluster file's [[host]]",
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
    if mode is Mode.SWITCH and link.mac == listen:
        raise UsageError(
            f"{interface}'s own MAC is the listen MAC {link.mac}, which no switch may learn",
            fix="give the interface its own MAC back, or set another cluster.listen_mac",
        )
    if mode is Mode.HUB and link.mac == listen and not (before and interface in before.worn):
        raise UsageError(
            f"{interface} has the listen MAC {link.mac} already, and nothing tells its own",
            fix=f"give it its own back: ip link set {interface} address MAC",
        )
    for other in links.others(link):
        if other.mac == listen:
            raise UsageError(
                f"{other.name} has the listen MAC {other.mac}, which no switch may learn",
                fix=f"give {other.name} another MAC, or set another cluster.listen_mac",
            )
    return link
