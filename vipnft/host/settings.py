"""Settings of the kernel that a mode needs."""

from collections.abc import Iterable

from vipnft.model import Mode, Nic


def ipv6_switches(nics: Iterable[Nic]) -> dict[str, str]:
    """Return the settings that must not be 1 where IPv6 VIPs are served, each with the interface
    that it turns IPv6 off on: the VIPs stand on lo."""
    names = [nic.interface for nic in nics if nic.v6]
    return {f"net/ipv6/conf/{one}/disable_ipv6": one for one in (*names, *(["lo"] * bool(names)))}


def wanted_sysctls(interfaces: Iterable[str], mode: Mode) -> dict[str, tuple[str, ...]]:
    """Return the settings a mode needs, each with the values that will do, best first.

    arp_ignore: the stack never answers ARP for a VIP; the VIPs stand on the loopback, so any
    value that looks at the interface will do. arp_announce: it never asks from a VIP either.
    The hub's: a frame for another host is not forwarded (ip-sysctl, Linux 6.18: forwarding is
    per interface; net.ipv4.ip_forward would reset other settings), nor redirected; and no
    link-local address is made of a MAC that all hosts share. A group's: what comes to a group's
    MAC with a host's address in it is dropped, unless the rules said that it is this host's.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    for interface in interfaces:
        conf = f"net/ipv4/conf/{interface}"
        wanted[f"{conf}/arp_ignore"] = ("1", "2", "3", "8")
        wanted[f"{conf}/arp_announce"] = ("2",)
        if mode is Mode.HUB:
            wanted[f"{conf}/forwarding"] = ("0",)
            wanted[f"{conf}/send_redirects"] = ("0",)
            wanted[f"net/ipv6/conf/{interface}/addr_gen_mode"] = ("1",)
        if mode in {Mode.MULTICAST, Mode.IGMP}:
            for version in ("ipv4", "ipv6"):
                key = f"net/{version}/conf/{interface}/drop_unicast_in_l2_multicast"
                wanted[key] = ("1",)
    return wanted
