"""Odd packets, in every mode and affinity: never two hosts answer, never another than the owner.

What hosts say is read at their own ports of the segment, and told apart by whom it is said to.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from tests.netns.conftest import LabUp
from tests.netns.odd_bodies import kinds
from tests.netns.odd_packets import ASKED, Ends, Kind
from tests.netns.packets import send
from tests.netns.support import VIP, VIP6, apply_all, configure, shell, until
from tests.netns.test_services import DEALT, dns, http
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ADVERT, ARP_REPLY, ETH_ARP, ETH_IPV4, ETH_IPV6, SOLICIT, Frame
from vipnft.lab.lab import Lab
from vipnft.lab.plan import NEAR_ROUTER, ROUTER6, client_address6, host_mac
from vipnft.model import Affinity, Cluster, Mode, Protocol, Service
from vipnft.ruleset import affinity

KINDS = kinds()
PLAIN = {name for name, kind in KINDS.items() if kind.answered}
EACH = 2  # clients of a kind, of either end of the range
QUIC = (http(Affinity.CLIENT), replace(dns(Affinity.CLIENT), quic=True))
AFFINITIES = {"no services": (), **DEALT, "QUIC": QUIC}
SERVER = f"""
import select, socket
from contextlib import suppress
echoing = []
for family, vip in ((socket.AF_INET, "{VIP}"), (socket.AF_INET6, "{VIP6}")):
    socket.create_server((vip, 80), family=family, backlog=4096).detach()
    echoing.append(socket.socket(family, socket.SOCK_DGRAM))
    echoing[-1].bind((vip, 53))
while True:
    for one in select.select(echoing, [], [])[0]:
        with suppress(OSError):  # where nobody can be answered
            one.sendto(*one.recvfrom(2048))
"""
READY = f"""
sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0
ping -c1 -W20 {NEAR_ROUTER} && ping -c1 -W20 {ROUTER6}
"""
BEYOND = """
nft 'add table inet odd; add chain inet odd f { type filter hook forward priority 0; policy drop; }'
"""


class Said(NamedTuple):
    """What a host said to a client: answers sent again are the same."""

    host: str
    protocol: int
    flags: int
    seq: int
    icmp: int


def ends(lab: Lab, number: int, turn: int) -> Ends:
    """Return the client of a kind, by the kind's number; `turn` counts its clients."""
    return Ends(
        four=f"10.{64 + 8 * turn}.{number % 256}.{5 + number // 256}",
        six=str(client_address6(EACH * number + turn)),
        port=20000 + EACH * number + turn,
        listen=lab.cluster.nics("web1")[0].listen_mac(lab.mode),
        own=host_mac(1 + turn % len(lab.hosts)),
    )


def bucket(cluster: Cluster, kind: Kind, client: str, port: int) -> int:
    """Return the bucket of a client of a kind."""
    protocol, _, number = kind.dealt.partition("/")
    if kind.dealt == ASKED:
        key = affinity.CLIENT
    elif kind.dealt:
        key = affinity.hash_key_at(cluster.services, Protocol(protocol), int(number))
    else:
        key, _ = affinity.dealt(cluster.services)
    return affinity.bucket(key, ip_address(client), cluster.seed, cluster.buckets, port)


def owned(lab: Lab) -> dict[int, str]:
    """Return who owns each bucket, as hosts say."""
    found = {h: json.loads(shell(lab, h, "vipnft status --json"))["owned"] for h in lab.hosts}
    assert sum(map(len, found.values())) == lab.cluster.buckets
    return {b: host for host, several in found.items() for b in several}


def whom(frame: Frame) -> str:
    """Return to whom a host's frame is said; "" for what is no answer."""
    if frame.arp:
        answer = frame.arp.operation == ARP_REPLY and frame.arp.sender == VIP
        return frame.arp.target if answer else ""
    if frame.src not in (VIP, VIP6) or (frame.icmp.nd and frame.icmp.nd.type == SOLICIT):
        return ""
    unasked = frame.icmp.nd and frame.icmp.nd.type == ADVERT and frame.dst == "ff02::1"
    return "::" if unasked else frame.dst


def _serves(lab: Lab, host: str) -> bool:
    return VIP6 in shell(lab, host, "ss -lunH sport = :53")


@contextmanager
def serving(lab: Lab) -> Iterator[None]:
    with ExitStack() as stack:
        for host in lab.hosts:
            shell(lab, host, READY)
            server = lab.popen(host, [sys.executable, "-c", SERVER])
            stack.callback(server.wait)
            stack.callback(server.kill)
            until(partial(_serves, lab, host), what="a server")
        shell(lab, "router", BEYOND)
        yield


Heard = Mapping[str, Counter[Said]]


def heard(lab: Lab, cluster: Cluster, owners: Mapping[int, str], must: Collection[str]) -> Heard:
    """Send every kind, and return what hosts said, by whom it was said to; `must` are answered."""
    every = [
        one
        for number, kind in enumerate(KINDS.values())
        for turn in range(EACH)
        for one in kind.frames(ends(lab, number, turn))
    ]
    first, last = (pings(lab, cluster, owners, net) for net in (126, 127))
    with ExitStack() as stack:
        wires = {h: stack.enter_context(Wire(lab, "segment", h, keep=True)) for h in lab.hosts}
        until(partial(all_answer, lab, wires, first), what="the first pings")
        send(lab, "router", *every)
        until(partial(all_answer, lab, wires, last), what="the last pings")
        until(partial(all_plain, lab, wires, must), what="what must be answered")
    found: defaultdict[str, Counter[Said]] = defaultdict(Counter)
    for host, wire in wires.items():
        for frame in (f for f in wire.frames if not f.outgoing):
            assert frame.ethertype in (ETH_ARP, ETH_IPV4, ETH_IPV6), f"{host} sent {frame}"
            said = Said(host, frame.protocol, frame.tcp.flags, frame.tcp.seq, frame.icmp.type)
            found[whom(frame)][said] += 1
    return found


def pings(
    lab: Lab, cluster: Cluster, owners: Mapping[int, str], net: int
) -> dict[tuple[str, str], Ends]:
    """Return a client of each host's, by IP version and host."""
    found: dict[tuple[str, str], Ends] = {}
    for n in range(250):
        e = replace(ends(lab, 0, 0), four=f"10.{net}.{n}.9", six=str(client_address6(net << 8 | n)))
        for name, client in (("a ping", e.four), ("a ping, IPv6", e.six)):
            found[name, owners[bucket(cluster, KINDS[name], client, 9)]] = e
    assert {host for _, host in found} == set(lab.hosts)
    return found


def all_answer(
    lab: Lab, wires: Mapping[str, Wire], clients: Mapping[tuple[str, str], Ends]
) -> bool:
    """Ping every host, and tell whether each has answered by now."""
    send(lab, "router", *(one for (name, _), e in clients.items() for one in KINDS[name].frames(e)))
    said = {(f.dst, host) for host, wire in wires.items() for f in list(wire.frames) if f.dst}
    return all({(e.four, host), (e.six, host)} & said for (_, host), e in clients.items())


def all_plain(lab: Lab, wires: Mapping[str, Wire], must: Collection[str]) -> bool:
    """Tell whether all was answered that must be; what was not is sent again."""
    said = {whom(f) for wire in wires.values() for f in list(wire.frames) if not f.outgoing}
    clients = [(n, ends(lab, k, t)) for k, n in enumerate(KINDS) for t in range(EACH) if n in must]
    lost = [(name, e) for name, e in clients if not {e.four, e.six} & said]
    send(lab, "router", *(one for name, e in lost for one in KINDS[name].frames(e)))
    return not lost


def wrong(lab: Lab, cluster: Cluster, found: Heard, *owners: Mapping[int, str]) -> list[object]:
    """Return what was said by two, by whom none of `owners` names, or more than once."""
    faults: list[object] = []
    for number, (name, kind) in enumerate(KINDS.items()):
        for e in (ends(lab, number, turn) for turn in range(EACH) if not kind.source):
            client = e.six if e.six in found else e.four  # each kind has one IP version
            said, its = found.get(client, Counter()), bucket(cluster, kind, client, e.port)
            hosts, may = {one.host for one in said}, {some[its] for some in owners}
            if not hosts <= may or len(hosts) > 1 or len(said) > len(kind.frames(e)):
                faults.append((name, e, [some[its] for some in owners], said))
    for source in {kind.source for kind in KINDS.values()} - {""}:
        said = found.get(source, Counter())
        alike = {(one.protocol, one.flags, one.icmp): one.host for one in said}
        asked = {bucket(cluster, k, source, 4242) for k in KINDS.values() if k.source == source}
        may = {some[its] for some in owners for its in asked}
        two = any(alike[one.protocol, one.flags, one.icmp] != one.host for one in said)
        if two or not set(alike.values()) <= may:
            faults.append((source, may, said))
    return faults


EVERY = [
    pytest.param(mode, services, id=f"{named}-{mode}", marks=[] if sample else [pytest.mark.long])
    for number, (named, services) in enumerate(AFFINITIES.items())
    for turn, mode in enumerate(Mode)
    for sample in [turn == number % len(Mode)]
]
"""Every mode with every affinity; one mode of each is asked in every run."""


@pytest.mark.parametrize(("mode", "services"), EVERY)
def test_never_two_and_never_another_than_the_owner(
    lab_up: LabUp, mode: Mode, services: Sequence[Service]
) -> None:
    """At rest; then while half of the buckets move, when it may be the former owner, too."""
    lab = lab_up(hosts=4, mode=mode)
    configure(lab, services=services)
    cluster = replace(lab.cluster, services=tuple(services))
    for host in lab.hosts:
        shell(lab, host, f"vipnft apply --{mode} --drain 0")
    before = owned(lab)
    with serving(lab):
        assert wrong(lab, cluster, heard(lab, cluster, before, PLAIN), before) == []
        heavy = tuple(replace(one, weight=9 if one.name == "web1" else 1) for one in cluster.hosts)
        configure(lab, services=services, hosts=heavy)
        apply_all(lab)
        after = owned(lab)
        assert sum(before[b] != after[b] for b in before) > len(before) // 3
        # A datagram of QUIC's that opens nothing is nobody's, if it is not known.
        must = PLAIN - {n for n in PLAIN if services is QUIC and KINDS[n].dealt == "udp/53"}
        assert wrong(lab, cluster, heard(lab, cluster, after, must), before, after) == []
