"""The main proof: every client is answered by exactly one host, counted on the wire.

Real nginx and a real name server on every host; 1,000 clients with an address each, of IPv4 and
as many of IPv6, to a VIP each; counted at the router's port. Only figures that the wire gave are
asserted, and `which` has predicted them.
"""

import json
import random
from collections import Counter
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import arp, send, solicitation
from tests.netns.support import VIP, VIP6, apply_all, asked, nginx, nsd, on_hosts, shell, which
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.frames import ADVERT, ARP_REPLY
from vipnft.lab.plan import host_mac
from vipnft.lab.tally import Tally
from vipnft.model import Mode

CLIENTS = 1000
MUTE = (
    "nft 'table ip6 mute { chain c { type filter hook prerouting priority raw;"
    " ip6 daddr 2001:db8::2:0/112 drop; }; }'"
)
"""The router, counted at, passes nothing on to neighbours that are not there: it would look for
each of them, and the kernel has room for 1,024 at once, in all network namespaces together."""
SIZES = (2, 3, 4, 5, 7, 8)
CASES = [
    *((mode, hosts) for mode in (Mode.HUB, Mode.SWITCH) for hosts in SIZES),
    *((mode, hosts) for mode in (Mode.MULTICAST, Mode.IGMP) for hosts in (3, 8)),
]


@pytest.mark.parametrize(("mode", "hosts"), CASES)
def test_every_client_is_answered_exactly_once(
    lab_up: LabUp, tmp_path: Path, mode: Mode, hosts: int
) -> None:
    lab = lab_up(hosts=hosts, mode=mode)
    apply_all(lab)
    listen = lab.cluster.nics("web1")[0].listen_mac(mode)
    four = [str(plan.client_address(n)) for n in range(CLIENTS)]
    six = [str(plan.client_address6(n)) for n in range(CLIENTS)]
    askers = [str(IPv4Address("192.0.3.0") + n) for n in range(CLIENTS)]
    neighbours = [str(IPv6Address("2001:db8::2:0") + n) for n in range(CLIENTS)]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx, nsd))
        watch = stack.enter_context(FdbWatch(lab))
        with Wire(lab, "router", keep=True) as wire:
            http = asked(lab, "http_client.py", four) | asked(lab, "http_client.py", six, VIP6)
            dns = asked(lab, "dns_client.py", four) | asked(lab, "dns_client.py", six, VIP6)
            shell(lab, "router", MUTE)
            send(lab, "router", *map(arp, askers))
            send(lab, "router", *map(solicitation, neighbours))
            wire.until(lambda t: sum(a.asker in set(askers) for a in t.arp_replies) >= CLIENTS)
            wire.until(lambda t: sum(a.asker in set(neighbours) for a in t.adverts) >= CLIENTS)
            for client, vip in ((four[0], VIP), (six[0], VIP6)):  # by then, late answers are in
                shell(lab, "clients", f"ping -c3 -i0.2 -I {client} {vip}")
        watch.stop()
    expected = which(lab, four + six)
    assert http == expected
    assert dns == expected
    tally = wire.tally
    # By sequence numbers: on a busy machine a SYN is sent again, and so is its answer.
    assert len(tally.syns) == sum(map(len, tally.answers.values())) == 2 * CLIENTS
    assert (tally.doubles, tally.unanswered, tally.refused) == ([], [], [])
    assert len(tally.queries) == tally.queries.total() == 2 * CLIENTS
    assert (tally.double_responses, tally.unanswered_queries) == ([], [])
    _each_was_told_once(tally, askers + neighbours, listen)
    wanted = set(askers + neighbours)  # the router asks as well, the more often the longer it takes
    answers = Counter(f.src_mac for f in wire.frames if f.arp and f.arp.operation == ARP_REPLY
                      and f.arp.sender == VIP and f.arp.target in wanted)  # fmt: skip
    answers += Counter(f.src_mac for f in wire.frames if f.icmp.nd and f.icmp.nd.type == ADVERT
                       and f.icmp.nd.target == VIP6 and f.dst in wanted)  # fmt: skip
    if mode is Mode.HUB:
        assert set(answers) == {listen}
    else:
        shares = Counter(which(lab, askers + neighbours).values())
        macs = {f"web{n}": host_mac(n) for n in range(1, hosts + 1)}
        assert answers == Counter({macs[host]: share for host, share in shares.items()})
        assert listen not in tally.sources, "a frame left with the listen MAC as its source"
        assert listen not in watch.seen, "the switch learned the listen MAC"
    owned = [json.loads(shell(lab, h, "vipnft status --json"))["owned"] for h in lab.hosts]
    sizes = [len(one) for one in owned]
    assert sum(sizes) == 256 == len(set().union(*owned))
    assert max(sizes) - min(sizes) <= 1


def _each_was_told_once(tally: Tally, askers: list[str], listen: str) -> None:
    """Who asked where a VIP is was told once, and told the listen MAC."""
    by_asker = Counter({a.asker: n for a, n in tally.arp_replies.items() if a.target == VIP})
    by_asker += Counter({a.asker: n for a, n in tally.adverts.items() if a.target == VIP6})
    assert all(by_asker[asker] == 1 for asker in askers)
    assert set(tally.arp_macs[VIP]) == set(tally.nd_macs[VIP6]) == {listen}


@pytest.mark.parametrize("seed", [0, 0x6D2F1C3B, 0xFFFFFFFF])
def test_which_predicts_the_host(lab_up: LabUp, tmp_path: Path, seed: int) -> None:
    """1,000 random addresses of either version, against who really answers."""
    lab = lab_up(hosts=3, seed=seed, buckets=253)
    apply_all(lab)
    draw = random.Random(seed)
    four = [str(plan.CLIENT_NET[1 + draw.randrange(2**22 - 2)]) for _ in range(1000)]
    six = [str(plan.CLIENT_NET6[draw.randrange(1, 2**80)]) for _ in range(1000)]
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        assert asked(lab, "http_client.py", four) == which(lab, four)
        assert asked(lab, "http_client.py", six, VIP6) == which(lab, six)


def test_curl_and_dig_as_people_run_them(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=4)
    apply_all(lab)
    clients = [f"10.64.7.{n}" for n in range(1, 9)] + [f"2001:db8:64::{n}" for n in range(1, 9)]
    expected = which(lab, clients)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx, nsd))
        for client in clients:
            vip, url = (VIP6, f"[{VIP6}]") if ":" in client else (VIP, VIP)
            curl = f"curl -sS --interface {client} 'http://{url}/'"
            assert shell(lab, "clients", curl) == expected[client]
            for tcp in ("", " +tcp"):
                dig = f"dig +short +tries=1 -b {client} @{vip} name.test TXT{tcp}"
                assert shell(lab, "clients", dig).strip() == f'"{expected[client]}"'
