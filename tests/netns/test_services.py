"""Services: what is served and refused, how its packets are dealt, what conntrack sees of it."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.scenarios import rebalance, with_weights
from tests.netns.support import (
    PROGRAMS,
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
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.frames import Frame
from vipnft.lab.lab import Lab
from vipnft.model import Affinity, Mode, Protocol, Service

HTTP = Service(protocol=Protocol.TCP, ports=((80, 80), (8000, 8002)))
DNS = Service(protocol=Protocol.UDP, ports=((53, 53),))
SIZE = 50_000
LISTENER = """
import signal, socket
server = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
signal.pause()
"""
SCTP = Service(protocol=Protocol.SCTP, ports=((5000, 5000),))


def sources(count: int) -> tuple[list[str], list[str]]:
    """Return clients with a port each, of either IP version; eight in each network."""
    four = [f"10.64.{n // 8}.{1 + n % 8}|{20000 + 7 * n}" for n in range(count)]
    six = [f"2001:db8:64:{n // 8:x}::{1 + n % 8}|{20000 + 7 * n}" for n in range(count)]
    return four, six


def http(affinity: Affinity) -> Service:
    return Service(protocol=Protocol.TCP, ports=((80, 80),), affinity=affinity)


def dns(affinity: Affinity) -> Service:
    return Service(protocol=Protocol.UDP, ports=((53, 53),), affinity=affinity)


SUBNETS = (http(Affinity.SUBNET), dns(Affinity.SUBNET))
FLOWS = (http(Affinity.FLOW), dns(Affinity.FLOW))
MIXED = (http(Affinity.SUBNET), dns(Affinity.FLOW), SCTP)
WIDE = tuple(replace(one, prefix4=22, prefix6=62) for one in SUBNETS)
DEALT = {
    "all by network": SUBNETS,
    "by wide networks": WIDE,
    "by flow": FLOWS,
    "each its own way": MIXED,
}


def expected(lab: Lab, clients: Sequence[str], services: Sequence[Service]) -> dict[str, str]:
    """Return who is to answer each client's DNS query."""
    return which(lab, clients, "" if services in ((), SUBNETS, WIDE) else "udp/53")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("services", DEALT.values(), ids=DEALT)
def test_each_affinity_is_answered_exactly_once(
    lab_up: LabUp, tmp_path: Path, mode: Mode, services: Sequence[Service]
) -> None:
    lab = lab_up(hosts=4, mode=mode)
    configure(lab, services=services)
    apply_all(lab)
    four, six = sources(240)
    with (
        on_hosts(lab, tmp_path, nginx, nsd),
        Wire(lab, "router") as wire,
        FdbWatch(lab) as watch,
    ):
        by_http = asked(lab, "http_client.py", four) | asked(lab, "http_client.py", six, VIP6)
        by_dns = asked(lab, "dns_client.py", four) | asked(lab, "dns_client.py", six, VIP6)
        shell(lab, "clients", f"ping -c2 -i0.2 {VIP}; ping -c2 -i0.2 {VIP6}")
    assert by_http == which(lab, four + six, "" if services in (SUBNETS, WIDE) else "tcp/80")
    assert by_dns == expected(lab, four + six, services)
    assert services is WIDE or len(set(by_dns.values())) == 4, "a wrong host would not be seen"
    assert len(set(by_dns.values())) > 1
    listen = lab.cluster.nics("web1")[0].listen_mac(mode)
    assert mode is Mode.HUB or listen not in watch.seen
    tally = wire.tally
    assert (tally.doubles, tally.unanswered, tally.refused) == ([], [], [])
    assert (tally.double_responses, tally.unanswered_queries) == ([], [])
    assert len(tally.syns) == len(tally.queries) == len(four + six)
    if services is not FLOWS:
        for clients in (four, six):
            assert [len({by_http[c] for c in clients[n : n + 8]}) for n in range(0, 240, 8)] == (
                [1] * 30
            ), "one network, several hosts"


@pytest.mark.parametrize(
    ("mode", "services"),
    [
        *((Mode.SWITCH, services) for services in ((), SUBNETS, FLOWS)),
        *((mode, MIXED) for mode in Mode),
    ],
)
def test_fragments_reach_the_right_host(
    lab_up: LabUp, tmp_path: Path, mode: Mode, services: Sequence[Service]
) -> None:
    """Of queries that are longer than the segment's MTU; only the first has ports."""
    lab = lab_up(hosts=4, mode=mode)
    configure(lab, services=services)
    apply_all(lab)
    four, six = sources(60)
    with on_hosts(lab, tmp_path, nginx, nsd), Wire(lab, "router", keep=True) as wire:
        answered = asked(lab, "dns_client.py", four, VIP, "1800")
        answered |= asked(lab, "dns_client.py", six, VIP6, "1800")
        shell(lab, "clients", f"ping -c2 -i0.2 {VIP}; ping -c2 -i0.2 {VIP6}")
    assert answered == expected(lab, four + six, services)
    queries = [f for f in wire.frames if f.protocol == 17 and f.dst in (VIP, VIP6)]
    assert len(queries) == 2 * len(four + six), "not two fragments each"
    assert wire.tally.double_responses == []


def nmap(lab: Lab, client: str, kind: str, ports: str) -> dict[int, str]:
    """Return what a scan found, by port."""
    six, vip = ("-6", VIP6) if ":" in client else ("", VIP)
    words = f"nmap {six} -n -Pn --disable-arp-ping -e eth0 -S {client} {kind} -p {ports} {vip}"
    said = shell(lab, "clients", f"{words} --max-retries 5 2>&1")
    return {int(p): state for p, state in re.findall(r"^(\d+)/\w+ +(\S+)", said, re.MULTILINE)}


@pytest.mark.parametrize("mode", Mode)
def test_what_is_not_served_is_refused_by_its_owner_alone(
    lab_up: LabUp, tmp_path: Path, mode: Mode
) -> None:
    """Even where something listens: NSD on TCP 53 as well, and somebody on 8080."""
    lab = lab_up(hosts=3, mode=mode)
    configure(lab, services=(HTTP, DNS, SCTP))
    apply_all(lab)
    clients = ["10.64.7.1", "2001:db8:64::7"]
    owners = which(lab, clients)
    with on_hosts(lab, tmp_path, nginx, nsd), ExitStack() as stack:
        for host in lab.hosts:
            server = lab.popen(host, [sys.executable, "-c", LISTENER])
            stack.callback(server.wait)
            stack.callback(server.kill)
            until(partial(shell, lab, host, "ss -ltnH sport = :8080"), what="somebody on 8080")
        ports = {h: stack.enter_context(Wire(lab, "segment", h, keep=True)) for h in lab.hosts}
        for client in clients:
            assert nmap(lab, client, "-sS", "53,80,81,8000,8003,8080") == {
                53: "closed", 80: "open", 81: "closed", 8000: "closed", 8003: "closed",
                8080: "closed",
            }  # fmt: skip
            assert nmap(lab, client, "-sU", "53,54") == {53: "open", 54: "closed"}
            nmap(lab, client, "-sY", "5000,5001")
        shell(lab, "router", f"ping -c2 -i0.2 {VIP}")
    for host, port in ports.items():
        port.stop()
        said = [f for f in port.frames if f.src in (VIP, VIP6) and f.dst in clients]
        said = [f for f in said if not f.outgoing]  # not what the segment floods to it
        assert {f.dst for f in said} == {c for c in clients if owners[c] == host}
        for client in clients:
            if owners[client] == host:
                assert refusals(said, client) >= {"port unreachable", "rst"}


def refusals(frames: Sequence[Frame], client: str) -> set[str]:
    """Return how a client was refused."""
    found = set()
    for frame in frames:
        if frame.dst != client:
            continue
        if frame.is_rst:
            found.add("rst")
        if (frame.protocol, frame.icmp.type, frame.icmp.code) in ((1, 3, 3), (58, 1, 4)):
            found.add("port unreachable")
    return found


DNS = Service(protocol=Protocol.UDP, ports=((53, 53),))


@pytest.mark.parametrize("services", [(), (HTTP, DNS)], ids=["all", "some"])
def test_conntrack_sees_nothing(
    lab_up: LabUp, tmp_path: Path, services: tuple[Service, ...]
) -> None:
    """Not what clients ask, nor anything else on the host."""
    lab = lab_up(hosts=1)
    configure(lab, services=services)
    apply_all(lab)
    four, six = sources(100)
    with nsd(lab, "web1", tmp_path):
        asked(lab, "dns_client.py", four)
        asked(lab, "dns_client.py", six, VIP6)
        shell(lab, "web1", "ping -c1 192.0.2.254")
    assert shell(lab, "web1", "cat /proc/sys/net/netfilter/nf_conntrack_count").strip() == "0"


@pytest.mark.parametrize("quic", [True, False])
def test_a_quic_transfer_survives_a_move(lab_up: LabUp, tmp_path: Path, quic: bool) -> None:
    """And breaks where nobody said that the service is QUIC."""
    lab = lab_up(hosts=2)
    service = Service(protocol=Protocol.UDP, ports=((443, 443),), quic=quic)
    configure(lab, services=(service,))
    apply_all(lab)
    old = [*(f"10.64.3.{n}" for n in range(1, 7)), *(f"2001:db8:64:3::{n}" for n in range(1, 7))]
    with ExitStack() as stack:
        for host in lab.hosts:
            home = tmp_path / host
            home.mkdir()
            words = [sys.executable, str(PROGRAMS / "quic_server.py"), str(home)]
            server = lab.popen(host, words, stdout=subprocess.PIPE)
            stack.callback(server.wait)
            stack.callback(server.kill)
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
        begun = transfers(lab, old, SIZE)
        rebalance(lab, with_weights(lab.config.read_text(), {"web1": 0}))
        later = finished(transfers(lab, old, 10))
        before = finished(begun)
    owners = {name for name, _ in before.values()}
    assert owners == {"web1", "web2"}, "nothing moved"
    assert {client: name for client, (name, _) in later.items()} == dict.fromkeys(old, "web2")
    assert [got for _, got in later.values()] == [10] * len(old)
    moved = [got for name, got in before.values() if name == "web1"]
    assert all(got == SIZE for name, got in before.values() if name == "web2")
    assert all((got == SIZE) is quic for got in moved)


def transfers(lab: Lab, clients: Sequence[str], size: int) -> list[subprocess.Popen[str]]:
    """Connect each client; return once each has heard from its host."""
    begun, pipe = [], subprocess.PIPE
    for vip, some in (
        (VIP, [c for c in clients if ":" not in c]),
        (VIP6, [c for c in clients if ":" in c]),
    ):
        words = [sys.executable, str(PROGRAMS / "quic_client.py"), vip, str(size), ",".join(some)]
        begun.append(lab.popen("clients", words, stdin=pipe, stdout=pipe))
    for one in begun:
        assert one.stdout
        assert one.stdout.readline() == "open\n"
    return begun


def finished(begun: Sequence[subprocess.Popen[str]]) -> dict[str, tuple[str, int | str]]:
    """Let them transfer; return, by client, who served it and how many bytes came, or the error."""
    found: dict[str, tuple[str, int | str]] = {}
    for one in begun:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in begun:
        found |= json.loads(one.communicate(timeout=60)[0])
    return found
