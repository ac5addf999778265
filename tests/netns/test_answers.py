"""The main proof: every client is answered by exactly one host, counted on the wire.

Real nginx and a real name server on every host; 1,000 clients with an address each; counted at
the router's port. Only figures that the wire gave are asserted, and `which` has predicted them.
"""

import json
import random
import socket
import struct
import sys
from collections import Counter
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HERE, LISTEN, VIP, apply_all, nginx, nsd, shell
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.frames import ARP_REPLY
from vipnft.lab.lab import Lab
from vipnft.lab.plan import host_mac
from vipnft.lab.wire import Wire
from vipnft.model import Mode

CLIENTS = 1000


def run(lab: Lab, program: str, who: str) -> dict[str, str]:
    words = [sys.executable, str(HERE / program), VIP, who]
    found: dict[str, str] = json.loads(lab.run("clients", words, check=True, timeout=120).stdout)
    return found


def which(lab: Lab, clients: list[str]) -> dict[str, str]:
    said = lab.run("router", ["vipnft", "which"], input="\n".join(clients), check=True).stdout
    return {line.split()[0]: line.split()[2] for line in said.splitlines()}


def ask_for_vip(lab: Lab, askers: list[str]) -> None:
    """Send an ARP request for the VIP from each of many addresses, out of the router's port."""
    mac = bytes.fromhex("020000010000")
    with lab.socket("router", socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        port.bind(("eth0", 0x0806))
        for asker in askers:
            sender, target = IPv4Address(asker).packed, IPv4Address(VIP).packed
            arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, sender, b"", target)
            port.send(b"\xff" * 6 + mac + b"\x08\x06" + arp)


@pytest.mark.parametrize("hosts", [2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("mode", Mode)
def test_every_client_is_answered_exactly_once(
    lab_up: LabUp, tmp_path: Path, mode: Mode, hosts: int
) -> None:
    lab = lab_up(hosts=hosts, mode=mode)
    apply_all(lab)
    clients = [str(IPv4Address("10.64.0.1") + n) for n in range(CLIENTS)]
    askers = [str(IPv4Address("192.0.3.0") + n) for n in range(CLIENTS)]
    with ExitStack() as stack:
        for host in lab.hosts:
            stack.enter_context(nginx(lab, host, tmp_path))
            stack.enter_context(nsd(lab, host, tmp_path))
        watch = stack.enter_context(FdbWatch(lab))
        with Wire(lab, "router", keep=True) as wire:
            http = run(lab, "http_client.py", str(CLIENTS))
            dns = run(lab, "dns_client.py", str(CLIENTS))
            ask_for_vip(lab, askers)
            wire.until(lambda t: sum(a.asker in set(askers) for a in t.arp_replies) >= CLIENTS)
            shell(lab, "clients", f"ping -c3 -i0.2 -I 10.64.0.1 {VIP}")
        watch.stop()
    expected = which(lab, clients)
    assert http == expected
    assert dns == expected
    tally = wire.tally
    assert len(tally.syns) == tally.syn_acks == CLIENTS
    assert (tally.doubles, tally.unanswered, tally.refused) == ([], [], [])
    assert len(tally.queries) == tally.queries.total() == CLIENTS
    assert (tally.double_responses, tally.unanswered_queries) == ([], [])
    by_asker = Counter({a.asker: n for a, n in tally.arp_replies.items() if a.target == VIP})
    assert all(by_asker[asker] == 1 for asker in askers)
    assert set(tally.arp_macs[VIP]) == {LISTEN}
    replies = [f for f in wire.frames if f.arp and f.arp.operation == ARP_REPLY]
    by_mac = Counter(f.src_mac for f in replies if f.arp and f.arp.sender == VIP)
    if mode is Mode.SWITCH:
        asked = Counter(which(lab, askers).values())
        assert {by_mac[host_mac(n)] - asked[f"web{n}"] for n in range(1, hosts + 1)} <= {0, 1}
        assert LISTEN not in tally.sources, "a frame left with the listen MAC as its source"
        assert LISTEN not in watch.seen, "the switch learned the listen MAC"
    else:
        assert set(by_mac) == {LISTEN}
    shares = [json.loads(shell(lab, h, "vipnft status --json"))["owned"] for h in lab.hosts]
    sizes = [len(owned) for owned in shares]
    assert sum(sizes) == 256 == len(set().union(*shares))
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("seed", [0, 0x6D2F1C3B, 0xFFFFFFFF])
def test_which_predicts_the_host(lab_up: LabUp, tmp_path: Path, seed: int) -> None:
    """1,000 random addresses, of all of the client network, against who really answers."""
    lab = lab_up(hosts=3, seed=seed, buckets=253)
    apply_all(lab)
    draw = random.Random(seed)
    clients = [str(IPv4Address("10.64.0.1") + draw.randrange(2**22 - 2)) for _ in range(1000)]
    with ExitStack() as stack:
        for host in lab.hosts:
            stack.enter_context(nginx(lab, host, tmp_path))
        assert run(lab, "http_client.py", ",".join(clients)) == which(lab, clients)


def test_curl_and_dig_as_people_run_them(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=4)
    apply_all(lab)
    clients = [f"10.64.7.{n}" for n in range(1, 17)]
    expected = which(lab, clients)
    with ExitStack() as stack:
        for host in lab.hosts:
            stack.enter_context(nginx(lab, host, tmp_path))
            stack.enter_context(nsd(lab, host, tmp_path))
        for client in clients:
            assert (
                shell(lab, "clients", f"curl -sS --interface {client} http://{VIP}/")
                == expected[client]
            )
            dig = f"dig +short +tries=1 -b {client} @{VIP} name.test TXT"
            assert shell(lab, "clients", dig).strip() == f'"{expected[client]}"'
            dig += " +tcp"
            assert shell(lab, "clients", dig).strip() == f'"{expected[client]}"'
