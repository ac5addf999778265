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

from vipnft.lab import namespaces, plan
from vipnft.lab.plan import BRIDGE, CLIENTS, ROUTER, SEGMENT, Plan
from vipnft.model import Mode

_RTMGRP_LINK = 1  # linux/rtnetlink.h
_FORWARDING = 3  # linux/if_bridge.h
_SETTLE = 10.0
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
    return ports


def _await_forwarding(ports: int) -> None:
    """Return when the bridge forwards at every port: the kernel gets there in its own time."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
        changes.bind((0, _RTMGRP_LINK))  # first listen, then look: no change slips between
        changes.settimeout(_SETTLE)
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


def _router(ip: IPRoute, lab: Plan, clients: int) -> None:
    """Join the segment to the clients."""
    peer = {"ifname": "eth0", "net_ns_fd": clients}
    ip.link("add", ifname="eth1", kind="veth", peer=peer)
    # The router's end alone: were the clients' smaller too, their MSS would say so, no host
    # would ever send a large segment, and there were no path MTU to be discovered.
    ip.link("set", index=socket.if_nametoindex("eth1"), mtu=lab.mtu)
    _up(ip, "eth0", f"{plan.NEAR_ROUTER}/24", f"{plan.FAR_ROUTER}/16")
    _up(ip, "eth1", f"{plan.UPLINK}/30")
    ip.route("add", dst=str(plan.CLIENT_NET), gateway=str(plan.DOWNLINK))


def _clients(ip: IPRoute) -> None:
    """Give the clients their addresses: all of a /10, by one local route."""
    _up(ip, "eth0", f"{plan.DOWNLINK}/30")
    ip.route("add", dst="default", gateway=str(plan.UPLINK))
    ip.route(
        "add", type="local", table=255, scope="host",
        dst=str(plan.CLIENT_NET), oif=socket.if_nametoindex("lo"),
    )  # fmt: skip


def _host(ip: IPRoute, number: int) -> None:
    """Give a host its own address and its way out."""
    network = plan.host_network(number)
    _up(ip, "eth0", f"{plan.host_address(number)}/{network.prefixlen}")
    ip.route("add", dst="default", gateway=str(plan.host_gateway(number)))


def _up(ip: IPRoute, name: str, *addresses: str) -> None:
    """Bring lo and one more interface up, with addresses."""
    ip.link("set", index=socket.if_nametoindex("lo"), state="up")
    index = socket.if_nametoindex(name)
    for address in addresses:
        ip.addr("add", index=index, address=address)
    ip.link("set", index=index, state="up")
