"""A lab's wires, over netlink: the bridge, its ports, addresses, routes, sysctls.

Rule 1: the process that calls this has left its user's network namespace before the first
        netlink message; nothing here can touch the machine's own network.
Rule 2: no process per host; one netlink socket per namespace, closed when that is wired.
Rule 3: namespaces are given as open file descriptors, never by name or path.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

from pyroute2 import IPRoute

from vipnft.kernel import nft
from vipnft.lab import namespaces, plan
from vipnft.lab.plan import BRIDGE, CLIENTS, ROUTER, SEGMENT, Plan
from vipnft.model import Mode

_RTMGRP_LINK, _RTMGRP_IPV6_IFADDR = 0x001, 0x100  # linux/rtnetlink.h
_TENTATIVE = 0x40  # linux/if_addr.h
_FORWARDING = 3  # linux/if_bridge.h
_ROUTER_PORT = 2  # linux/if_bridge.h: MDB_RTR_TYPE_PERM
# Linux bridges look at the group's IP address, so that frames to a group's MAC with a VIP as their
# destination reach no member. Switches look at the MAC: so do these rules. The bridge's own part is
# to ask for members, and to let group frames through to all ports.
_SNOOPING = """
add table bridge snooping
add set bridge snooping members { type ifname . ether_addr; flags dynamic,timeout; timeout 260s; }
add chain bridge snooping reports { type filter hook prerouting priority 0; }
add rule bridge snooping reports ip protocol igmp @th,0,8 { 0x12, 0x16 } update @members { iifname . ether daddr }
add chain bridge snooping members-only { type filter hook forward priority 0; }
add rule bridge snooping members-only ether daddr & ff:ff:ff:ff:ff:00 == 01:00:5e:00:00:00 accept
add rule bridge snooping members-only ether daddr & ff:ff:ff:80:00:00 == 01:00:5e:00:00:00 oifname . ether daddr != @members drop
"""  # noqa: E501
_SETTLE_S = 10.0
"""Seconds without any change after which the ports won't come up any more."""


def wire(lab: Plan, networks: Mapping[str, int]) -> dict[int, str]:
    """Wire all nodes up; return the bridge's ports by interface index."""
    for node, fd in networks.items():
        namespaces.setns(fd, namespaces.CLONE_NEWNET)
        _prepare(node)
    namespaces.setns(networks[SEGMENT], namespaces.CLONE_NEWNET)
    with IPRoute() as ip:
        ports = _segment(ip, lab, networks)
    namespaces.setns(networks[ROUTER], namespaces.CLONE_NEWNET)
    with IPRoute() as ip:
        _router(ip, lab, networks[CLIENTS])
    namespaces.setns(networks[CLIENTS], namespaces.CLONE_NEWNET)
    with IPRoute() as ip:
        _clients(ip)
    for number in range(1, lab.hosts + 1):
        namespaces.setns(networks[plan.host_name(number)], namespaces.CLONE_NEWNET)
        with IPRoute() as ip:
            _host(ip, number)
    for fd in networks.values():
        namespaces.setns(fd, namespaces.CLONE_NEWNET)
        _await_addresses()
    namespaces.setns(networks[SEGMENT], namespaces.CLONE_NEWNET)
    _await_forwarding(len(ports))
    return ports


def _prepare(node: str) -> None:
    """Set what interfaces take over when they appear, so before there are any."""
    for scope in "all", "default":
        _sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
        _sysctl(f"ipv4/conf/{scope}/send_redirects", 0)
        # IPv6 stays on, but neither waits for duplicates nor asks for routers. The bridge
        # itself has no address at all.
        _sysctl(f"ipv6/conf/{scope}/accept_dad", 0)
        _sysctl(f"ipv6/conf/{scope}/router_solicitations", 0)
        if node == SEGMENT:
            _sysctl(f"ipv6/conf/{scope}/disable_ipv6", 1)
        _sysctl(f"ipv6/conf/{scope}/forwarding", int(node == ROUTER))
        # What snoops in this lab reads version 2, as the bridge's querier speaks it.
        _sysctl(f"ipv4/conf/{scope}/force_igmp_version", 2)
    _sysctl("ipv4/ip_forward", int(node == ROUTER))


def _sysctl(name: str, value: int) -> None:
    """Write net/`name` of the network namespace this process is in."""
    path = Path("/proc/sys/net", name)
    if path.exists() or not name.startswith("ipv6/"):  # a kernel without IPv6 will do
        path.write_text(str(value))


def _segment(ip: IPRoute, lab: Plan, networks: Mapping[str, int]) -> dict[int, str]:
    """Make the bridge and plug every host and the router into it."""
    # A fixed MAC: or the bridge takes its ports', and each new port changes it again.
    ip.link(
        "add", ifname=BRIDGE, kind="bridge", address=plan.BRIDGE_MAC, state="up",
        br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0,
    )  # fmt: skip
    ip.link("set", index=socket.if_nametoindex("lo"), state="up")
    bridge = socket.if_nametoindex(BRIDGE)
    peers = {ROUTER: plan.ROUTER_MAC}
    peers.update((plan.host_name(n), plan.host_mac(n)) for n in range(1, lab.hosts + 1))
    ports = {}
    for node, mac in peers.items():
        peer = {"ifname": "eth0", "address": mac, "net_ns_fd": networks[node]}
        ip.link("add", ifname=node, kind="veth", peer=peer, master=bridge, state="up")
        port = socket.if_nametoindex(node)
        ports[port] = node
        if lab.mode is Mode.HUB:
            ip.brport("set", index=port, learning=0)
        if lab.mode is Mode.IGMP:
            ip.brport("set", index=port, multicast_router=_ROUTER_PORT)
    if lab.mode is Mode.IGMP:
        ip.link("set", index=bridge, kind="bridge", br_mcast_snooping=1, br_mcast_querier=1)
        nft.run(_SNOOPING)
    return ports


def _await_forwarding(ports: int) -> None:
    """Return when the bridge forwards at every port: the kernel gets there in its own time."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
        changes.bind((0, _RTMGRP_LINK))  # first listen, then look: no change slips between
        changes.settimeout(_SETTLE_S)
        while True:
            with IPRoute() as ip:
                links = list(ip.get_links(family=socket.AF_BRIDGE))
            states = [link.get_nested("IFLA_PROTINFO", "IFLA_BRPORT_STATE") for link in links]
            if states.count(_FORWARDING) == ports:
                return
            try:
                changes.recv(65536)
            except TimeoutError as error:
                raise TimeoutError(f"of {ports} ports, these forward: {states}") from error
            except OSError:  # ENOBUFS: more changes than fit; look again
                continue


def _await_addresses() -> None:
    """Return when every IPv6 address here is of use, with its group: also in the kernel's time."""
    addresses = Path("/proc/thread-self/net/if_inet6")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
        changes.bind((0, _RTMGRP_IPV6_IFADDR))
        changes.settimeout(_SETTLE_S)
        while any(
            int(line.split()[4], 16) & _TENTATIVE for line in addresses.read_text().splitlines()
        ):
            try:
                changes.recv(65536)
            except TimeoutError:
                raise
            except OSError:  # ENOBUFS
                continue


def _router(ip: IPRoute, lab: Plan, clients: int) -> None:
    """Join the segment to the clients."""
    peer = {"ifname": "eth0", "net_ns_fd": clients}
    ip.link("add", ifname="eth1", kind="veth", peer=peer)
    # The router's end alone: were the clients' smaller too, their MSS would say so, no host
    # would ever send a large segment, and there were no path MTU to be discovered.
    ip.link("set", index=socket.if_nametoindex("eth1"), mtu=lab.mtu)
    addresses = (plan.NEAR_ROUTER, 24), (plan.FAR_ROUTER, 16), (plan.ROUTER6, 64)
    _up(ip, "eth0", *(f"{address}/{length}" for address, length in addresses))
    _up(ip, "eth1", f"{plan.UPLINK}/30")
    ip.route("add", dst=str(plan.CLIENT_NET), gateway=str(plan.DOWNLINK))
    if lab.mtu >= plan.MIN_MTU6:
        index = socket.if_nametoindex("eth1")
        ip.addr("add", index=index, address=f"{plan.UPLINK6}/64")
        ip.route("add", dst=str(plan.CLIENT_NET6), gateway=str(plan.DOWNLINK6))


def _clients(ip: IPRoute) -> None:
    """Give the clients their addresses: all of a /10 and a /48, by one local route each."""
    _up(ip, "eth0", f"{plan.DOWNLINK}/30", f"{plan.DOWNLINK6}/64")
    ip.route("add", dst="default", gateway=str(plan.UPLINK))
    ip.route("add", dst="::/0", gateway=str(plan.UPLINK6))
    lo = socket.if_nametoindex("lo")
    _sysctl("ipv6/ip_nonlocal_bind", 1)  # which a local route alone does not allow there
    ip.route("add", type="local", table=255, scope="host", dst=str(plan.CLIENT_NET), oif=lo)
    ip.route("add", type="local", table=255, dst=str(plan.CLIENT_NET6), oif=lo)


def _host(ip: IPRoute, number: int) -> None:
    """Give a host its own address and its way out."""
    network = plan.host_network(number)
    own = f"{plan.host_address(number)}/{network.prefixlen}", f"{plan.host_address6(number)}/64"
    _up(ip, "eth0", *own)
    ip.route("add", dst="default", gateway=str(plan.host_gateway(number)))
    ip.route("add", dst="::/0", gateway=str(plan.ROUTER6))


def _up(ip: IPRoute, name: str, *addresses: str) -> None:
    """Bring lo and one more interface up, with addresses."""
    # A machine whose CPUs are away for seconds is no reason to give a neighbour up.
    for version in ("ipv4", "ipv6"):
        for kind in ("mcast", "ucast"):
            _sysctl(f"{version}/neigh/{name}/{kind}_solicit", 10)
    ip.link("set", index=socket.if_nametoindex("lo"), state="up")
    index = socket.if_nametoindex(name)
    for address in addresses:
        ip.addr("add", index=index, address=address)
    ip.link("set", index=index, state="up")
