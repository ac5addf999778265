"""What is on its way when a bucket moves, and what its former owner still does afterwards."""

import select
import socket
import struct
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import IPV4, IPV6, ROUTER, icmp6, ipv4, send
from tests.netns.scenarios import rebalance, with_weights
from tests.netns.support import (
    LISTEN,
    VIP,
    VIP6,
    apply_all,
    asked,
    configure,
    nginx,
    nsd,
    on_hosts,
    shell,
    until,
    which,
)
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ICMP
from vipnft.lab.lab import Lab
from vipnft.lab.plan import ROUTER6, host_mac
from vipnft.model import Affinity, Protocol, Service
from vipnft.ruleset.ndp import mac

FLOW = Service(protocol=Protocol.UDP, ports=((53, 53),), affinity=Affinity.FLOW)
WEB = Service(protocol=Protocol.TCP, ports=((80, 80),))
QUIC = Service(protocol=Protocol.UDP, ports=((443, 443),), quic=True)


def to_web2(lab: Lab, drain: str = "60s") -> None:
    """Give everything that web1 has to web2."""
    rebalance(lab, with_weights(lab.config.read_text(), {"web1": 0}), drain=drain)


def of(lab: Lab, host: str, count: int, *, six: bool = False) -> list[str]:
    """Return clients of a host."""
    owners = which(lab, [f"2001:db8:64::{n}" if six else f"10.64.0.{n}" for n in range(1, 200)])
    return [client for client, owner in owners.items() if owner == host][:count]


def both(lab: Lab, host: str, count: int) -> list[str]:
    """Return so many clients of a host of each IP version."""
    return [*of(lab, host, count), *of(lab, host, count, six=True)]


def caller(lab: Lab, client: str, port: int = 0) -> tuple[socket.socket, str]:
    """Return a client's socket, and the VIP of its IP version."""
    six = ":" in client
    one = lab.socket("clients", socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.settimeout(30)
    one.bind((client, port))
    return one, VIP6 if six else VIP


def test_a_handshake_that_straddles_a_move_begins_anew(lab_up: LabUp, tmp_path: Path) -> None:
    """The SYN|ACK is lost, the bucket moves, the client sends its SYN again."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    clients = both(lab, "web1", 8)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        wire = stack.enter_context(Wire(lab, "router"))
        shell(
            lab,
            "router",
            "nft 'table inet x { chain f { type filter hook forward priority 0;"
            f" ip saddr {VIP} drop; ip6 saddr {VIP6} drop; }}; }}'",
        )
        connections = []
        for client in clients:
            one, vip = caller(lab, client)
            stack.enter_context(one)
            one.setblocking(False)
            one.connect_ex((vip, 80))
            connections.append(one)
        wire.until(lambda t: len(t.answers) >= len(clients))
        to_web2(lab)
        shell(lab, "router", "nft delete table inet x")
        for one in connections:
            one.settimeout(60)
            assert select.select([], [one], [], 60)[1], "not connected"
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert one.recv(4096).endswith(b"web2")
        wire.stop()
    assert wire.tally.refused == []


def test_what_comes_back_by_a_new_file_is_served(lab_up: LabUp, tmp_path: Path) -> None:
    """All rules are swapped while it is still known that the buckets were given away."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    as_before, clients = lab.config.read_text(), of(lab, "web1", 4)
    with on_hosts(lab, tmp_path, nginx):
        to_web2(lab)
        lab.config.write_text(as_before)
        configure(lab, services=(WEB,))
        for host in reversed(lab.hosts):
            shell(lab, host, "vipnft apply --switch --drain 60s")
        assert asked(lab, "http_client.py", clients) == dict.fromkeys(clients, "web1")


def test_a_quic_packet_is_for_one_host_by_its_type(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    configure(lab, services=(QUIC,))
    apply_all(lab)
    (client,) = of(lab, "web1", 1)
    with ExitStack() as stack:

        def bound(node: str, address: str, port: int) -> socket.socket:
            one = stack.enter_context(lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM))
            one.bind((address, port))
            one.settimeout(10)
            return one

        asker = bound("clients", client, 4433)
        servers = {host: bound(host, VIP, 443) for host in lab.hosts}

        def heard_by(first: int, version: int) -> str:
            """Send a packet, and one more that web2 alone gets; tell who received the first."""
            asker.sendto(bytes([first]) + struct.pack("!I", version) + bytes(20), (VIP, 443))
            ready, _, _ = select.select(list(servers.values()), [], [], 10)
            shell(lab, "router", "ping -c2 -i0.2 192.0.2.2")
            ready, _, _ = select.select(list(servers.values()), [], [], 0)
            for one in ready:
                one.recv(99)
            (host,) = (host for host, one in servers.items() if one in ready)
            return host

        asker.sendto(b"\xc0" + struct.pack("!I", 1) + bytes(20), (VIP, 443))
        _, whence = servers["web1"].recvfrom(99)
        servers["web1"].sendto(b"hello", whence)
        assert asker.recv(99) == b"hello"
        to_web2(lab)
        assert heard_by(0x40, 0) == "web1", "short header"
        assert heard_by(0xE0, 1) == "web1", "Handshake"
        assert heard_by(0xD0, 1) == "web1", "0-RTT"
        assert heard_by(0xC0, 1) == "web2", "Initial"
        assert heard_by(0xD0, 0x6B3343CF) == "web2", "Initial of version 2"


def test_fragments_of_a_moved_bucket_are_answered_once(lab_up: LabUp, tmp_path: Path) -> None:
    """All hosts put them together; the new owner alone takes what has no handshake, beside a
    service that has one, too."""
    lab = lab_up(hosts=2)
    configure(lab, services=(FLOW, QUIC))
    apply_all(lab)
    four = [f"10.64.0.{n}|{4000 + n}" for n in range(1, 21)]
    six = [f"2001:db8:64::{n}|{4000 + n}" for n in range(1, 21)]
    pings = "; ".join(
        f"ping -c1 -s3000 -I {client.partition('|')[0]} {VIP6 if ':' in client else VIP}"
        for client in (*four, *six)
    )
    with on_hosts(lab, tmp_path, nsd):
        to_web2(lab)
        with Wire(lab, "router", keep=True) as wire:
            answered = asked(lab, "dns_client.py", four, VIP, "1800")
            answered |= asked(lab, "dns_client.py", six, VIP6, "1800")
            shell(lab, "clients", f"{pings}; ping -c2 -i0.2 192.0.2.1")
    assert answered == dict.fromkeys((*four, *six), "web2")
    assert wire.tally.double_responses == []
    assert {f.src_mac for f in wire.frames if f.src in (VIP, VIP6)} == {host_mac(2)}


def refused(lab: Lab, host: str, target: tuple[str, int], port: int = 0) -> bool:
    """Tell whether a host may not send a datagram from the VIP."""
    with lab.socket(host, socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((VIP, port))
        try:
            one.sendto(b"x", target)
        except PermissionError:
            return True
    return False


def test_after_its_drain_a_host_says_nothing_more(lab_up: LabUp) -> None:
    """Not to fragments, which all hosts put together; nor does it begin anything from the VIP."""
    lab = lab_up(hosts=2)
    configure(lab, services=(FLOW,))
    apply_all(lab)
    (client,) = of(lab, "web1", 1)
    ports = [f"{client}|{n}" for n in range(4000, 4040)]
    mine = next(c for c, host in which(lab, ports, "udp/53").items() if host == "web1")
    assert not refused(lab, "web1", (client, 7))
    to_web2(lab, drain="1s")
    assert refused(lab, "web1", (client, 7)), "while it drains"
    listing = "nft list set netdev vipnft leaving; nft list set inet vipnft drains"
    until(lambda: "0x" not in shell(lab, "web1", listing), what="the drain's end")
    assert refused(lab, "web1", (client, 7)), "after it has drained"
    port = int(mine.split("|")[1])
    whole = struct.pack("!HHHH", port, 53, 40, 0) + bytes(32)
    pieces = [
        ipv4(client, VIP, 17, whole[:16], fragment=0x2000),
        ipv4(client, VIP, 17, whole[16:], fragment=2),
    ]
    with Wire(lab, "router", keep=True) as wire:
        send(lab, "router", *(mac(LISTEN) + mac(ROUTER) + IPV4 + piece for piece in pieces))
        shell(lab, "router", f"ping -c2 -i0.2 {VIP}; ping -c2 -i0.2 192.0.2.1")
    answers = [f.src_mac for f in wire.frames if (f.protocol, f.icmp.type) == (ICMP, 3)]
    assert answers == [host_mac(2)], "port unreachable, from the owner alone"


def test_nobody_complains_of_a_packet_that_is_never_whole(lab_up: LabUp) -> None:
    lab = lab_up(hosts=3)
    configure(lab, services=(FLOW,))
    apply_all(lab)
    for host in lab.hosts:
        shell(lab, host, "sysctl -qw net.ipv4.ipfrag_time=1")
        shell(lab, host, "sysctl -qw net.netfilter.nf_conntrack_frag6_timeout=1")
    datagram = struct.pack("!HHHH", 4000, 53, 40, 0) + bytes(8)
    four = ipv4("10.64.0.7", VIP, 17, datagram, fragment=0x2000)
    a, b = IPv6Address("2001:db8:64::7").packed, IPv6Address(VIP6).packed
    six = struct.pack("!IHBB", 6 << 28, 8 + len(datagram), 44, 64) + a + b
    six += struct.pack("!BBHI", 17, 0, 1, 7) + datagram
    counts = "awk '/^Ip:/ && $2 != \"Forwarding\" {print $14} /Ip6ReasmTimeout/ {print $2}'"

    def given_up(host: str) -> bool:
        return shell(lab, host, f"{counts} /proc/net/snmp /proc/net/snmp6").split() == ["1", "1"]

    with Wire(lab, "router", keep=True) as wire:
        send(lab, "router", mac(LISTEN) + mac(ROUTER) + IPV4 + four)
        send(lab, "router", mac(LISTEN) + mac(ROUTER) + IPV6 + six)
        for host in lab.hosts:
            until(partial(given_up, host), what="the fragments to be given up")
        shell(lab, "router", f"ping -c2 -i0.2 {VIP}")
    assert not [f for f in wire.frames if f.icmp.type in {3, 11} and f.src in (VIP, VIP6)]


def test_what_a_service_sends_first_is_by_its_own_affinity(lab_up: LabUp) -> None:
    """A late answer, or a server that speaks unasked: its flow's owner may, and he alone."""
    lab = lab_up(hosts=3)
    configure(lab, services=(FLOW,))
    apply_all(lab)
    flows = [f"10.64.0.10|{n}" for n in range(4000, 4012)]
    owners = which(lab, flows, "udp/53")
    for flow, owner in owners.items():
        address, port = flow.split("|")
        may = [h for h in lab.hosts if not refused(lab, h, (address, int(port)), 53)]
        assert may == [owner]


@pytest.mark.parametrize("fragments", [False, True])
def test_too_big_reaches_a_flows_owner(lab_up: LabUp, fragments: bool) -> None:
    """Also about a packet that was sent in fragments: its ports stand further on."""
    lab = lab_up(hosts=3)
    configure(lab, services=(FLOW,))
    apply_all(lab)
    client = "2001:db8:64::7"
    flows = [f"{client}|{n}" for n in range(4000, 4030)]
    by_client = which(lab, [client])[client]
    flow, owner = next((f, o) for f, o in which(lab, flows, "udp/53").items() if o != by_client)
    udp = struct.pack("!HHHH", 53, int(flow.split("|")[1]), 1400, 0) + bytes(400)
    extra = struct.pack("!BBHI", 17, 0, 1, 7) if fragments else b""
    inner = struct.pack("!IHBB", 6 << 28, 1400, 44 if fragments else 17, 64)
    inner += IPv6Address(VIP6).packed + IPv6Address(client).packed + extra + udp
    error = icmp6(str(ROUTER6), VIP6, struct.pack("!BBHI", 2, 0, 0, 1280) + inner, hops=64)
    route = f"ip -6 route get {client} from {VIP6}"
    with ExitStack() as stack:
        for host in lab.hosts:  # a socket that may have sent what the error returns
            one = stack.enter_context(lab.socket(host, socket.AF_INET6, socket.SOCK_DGRAM))
            one.bind((VIP6, 53))
        send(lab, "router", mac(LISTEN) + mac(ROUTER) + IPV6 + error)
        until(lambda: "mtu 1280" in shell(lab, owner, route), what="the owner to learn")
        others = [host for host in lab.hosts if host != owner]
        assert not [host for host in others if "mtu 1280" in shell(lab, host, route)]
