"""Connections survive moves whatever becomes of conntrack, and clients of other interfaces."""

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.netns import scenarios
from tests.netns.conftest import LabUp
from tests.netns.packets import IPV4, ROUTER, send, syn, tcp, udp
from tests.netns.support import (
    LISTEN,
    VIP,
    VIP6,
    apply_all,
    asked,
    guest,
    nginx,
    on_hosts,
    shell,
    which,
)
from tests.netns.test_handover import both, caller, of, to_web2
from vipnft.lab.capture import Wire
from vipnft.lab.lab import Lab
from vipnft.lab.plan import host_mac
from vipnft.lab.tally import Tally
from vipnft.model import Mode
from vipnft.ruleset.ndp import mac

TRACKS = (
    "nft 'table inet user { chain p { type filter hook prerouting priority 0; ct state new; }; }'"
)
NOTRACK = (
    "nft 'table inet user { chain p { type filter hook prerouting priority raw; notrack; };"
    " chain o { type filter hook output priority raw; notrack; }; }'"
)
FLUSH = "while sleep 0.1; do conntrack -F; done >&- 2>&- &"
_MOST = "/proc/sys/net/netfilter/nf_conntrack_max"
_ENTRY = "-I -p udp -s 10.{}.{}.{} -d 10.0.0.1 --sport 9 --dport 9 -t 600 {}\n"
# It ends with an error where the table is full.
_FILL = f"conntrack -R {{file}} || test $(conntrack -C) -gt $(($(cat {_MOST}) * 99 / 100))"


def entries(file: Path, flags: str) -> None:
    """Write more entries of conntrack's than there can be."""
    numbers = range(int(Path(_MOST).read_text()))
    several = (_ENTRY.format(100 + n // 65536, n // 256 % 256, n % 256, flags) for n in numbers)
    file.write_text("".join(several))


# What a host's user does to conntrack, for his own reasons: before connections are opened, while
# they are open, and when they were seen to go on.
MEDDLERS = {
    "none": ("true", "true", "true"),
    "notrack": (NOTRACK, "true", "true"),
    "short timeouts": (
        f"{TRACKS}; sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=1",
        "true",
        "true",
    ),
    "flush": (f"{TRACKS}; {FLUSH}", "true", "true"),
    "full as by a flood": (TRACKS, _FILL, "true"),
    # Nothing is thrown out for others: his own rule drops whatever is not in it by then.
    "full of what is in use": (TRACKS, _FILL, "nft delete table inet user"),
}


@pytest.mark.parametrize("meddler", MEDDLERS)
def test_busy_connections_survive_what_a_user_does_to_conntrack(
    lab_up: LabUp, tmp_path: Path, meddler: str
) -> None:
    """They go on while their buckets move, and when their host dies they are reset."""
    lab = lab_up(hosts=3)
    before, opened, moved = MEDDLERS[meddler]
    held: dict[str, int] = {}

    def seen(host: str) -> None:
        held[host] = int(shell(lab, host, "conntrack -C"))
        shell(lab, host, moved)

    file = tmp_path / "entries"
    if meddler.startswith("full"):
        entries(file, "-u ASSURED,SEEN_REPLY" if meddler.endswith("in use") else "")
    for host in lab.hosts:
        shell(lab, host, before)
    found = scenarios.moved_and_orphaned(
        lab,
        tmp_path,
        count=500,
        opened=lambda host: shell(lab, host, opened.format(file=file)),
        moved=seen,
    )
    assert (found["connections"], found["broken"]) == (500, 0)
    assert found["reset"] == found["served again"] == 500
    assert found["worst seconds"] < 10 + 2 * found["takeover seconds"]
    match meddler.split(maxsplit=1)[0]:
        case "none" | "notrack":
            assert set(held.values()) == {0}, "what is not asked for is not there"
        case "full":
            most = int(Path(_MOST).read_text())
            assert min(held.values()) > 0.99 * most


@contextmanager
def talking(lab: Lab, clients: list[str]) -> Iterator[list[socket.socket]]:
    """Hold a connection open from each client, on which a page was asked for already."""
    with ExitStack() as stack:
        several = []
        for client in clients:
            one, vip = caller(lab, client)
            several.append(stack.enter_context(one))
            one.connect((vip, 80))
        yield several


def page(one: socket.socket) -> bytes:
    """Ask for the page on an open connection."""
    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.rpartition(b"\r\n\r\n")[2]:
        answer += one.recv(4096)
    return answer.rpartition(b"\r\n\r\n")[2].strip()


def refused(lab: Lab, client: str, port: int) -> bool:
    one, vip = caller(lab, client)
    with one:
        try:
            one.connect((vip, port))
        except ConnectionRefusedError:
            return True
    return False


@pytest.mark.parametrize("mode", Mode)
def test_each_stack_says_only_what_it_knows(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    """In a move: old connections go on at the old owner, new ones come to the new one, a closed
    port is refused by it alone, and no reset of a stack that lacks a connection gets out."""
    lab = lab_up(hosts=2, mode=mode)
    apply_all(lab)
    clients = both(lab, "web1", 20)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        old = stack.enter_context(talking(lab, clients[::2]))
        assert {page(one) for one in old} == {b"web1"}
        to_web2(lab)
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        for _ in range(5):
            assert {page(one) for one in old} == {b"web1"}
        with talking(lab, clients[1::2]) as new:
            assert {page(one) for one in new} == {b"web2"}
        assert all(refused(lab, client, 81) for client in clients)
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.1")
        wire.stop()
        resets = [f for f in wire.frames if f.is_rst and f.src in (VIP, VIP6)]
        assert len(resets) == len(clients)  # the closed port's, each once
        assert (wire.tally.doubles, wire.tally.unanswered) == ([], [])


def test_a_scan_is_answered_by_one_host(lab_up: LabUp) -> None:
    """Segments of no kind that a connection has are refused as opening ones are."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    (client,) = of(lab, "web1", 1)
    to_web2(lab)
    fin, syn, push, urgent = 1, 2, 8, 32
    kinds = (0, fin, syn, syn | fin, fin | push | urgent)
    scan = [mac(LISTEN) + mac(ROUTER) + IPV4 + tcp(client, VIP, 81, flags) for flags in kinds]
    with Wire(lab, "router", keep=True) as wire:
        send(lab, "router", *scan)
        shell(lab, "router", "ping -c2 -i0.2 192.0.2.1; ping -c2 -i0.2 192.0.2.2")
    assert [f.src_mac for f in wire.frames if f.is_rst] == [host_mac(2)] * len(kinds)


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_a_port_is_used_again_after_a_move(lab_up: LabUp, tmp_path: Path, six: bool) -> None:
    """The former owner keeps it in TIME_WAIT; the client opens it at the new one."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    (client,) = of(lab, "web1", 1, six=six)
    with on_hosts(lab, tmp_path, nginx):
        for owner in (b"web1", b"web2"):
            one, vip = caller(lab, client, 44444)
            with one:
                one.connect((vip, 80))
                one.sendall(b"GET / HTTP/1.0\r\n\r\n")  # the server closes first
                answer = b"".join(iter(partial(one.recv, 4096), b""))
                assert answer.endswith(owner)
            if owner == b"web1":
                assert ":80" in shell(lab, "web1", "ss -tanH state time-wait")
                to_web2(lab)


ECHO = """
import socket, sys
one = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
one.bind((sys.argv[1], 7))
print("ready", flush=True)
while True:
    data, whence = one.recvfrom(99)
    one.sendto(socket.gethostname().encode(), whence)
"""
GUESTS = [f"10.99.0.{n}" for n in range(1, 41)]
GUESTS6 = [f"2001:db8:99::{n}" for n in range(1, 41)]
_ASK = """
import socket, sys
vip, vip6, *clients = sys.argv[1:]
for client in clients:
    six = ":" in client
    for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 7)):
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind) as one:
            one.bind((client, 0))
            one.settimeout(30)
            one.connect((vip6 if six else vip, port))
            one.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            print(one.recv(4096).split()[-1].decode(), flush=True)
"""


@contextmanager
def routed(lab: Lab, host: str) -> Iterator[list[str]]:
    """Have a network of its own behind a host, as containers have; give the words that run a
    command there."""
    with guest(lab, host, GUESTS) as enter:
        shell(
            lab,
            host,
            "ip addr add 10.99.0.254/24 dev guests; sysctl -qw net.ipv4.conf.all.rp_filter=0"
            " net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.guests.rp_filter=0",
        )
        six = "".join(f"ip addr add {one}/64 dev out nodad; " for one in GUESTS6)
        shell(lab, host, "ip addr add 2001:db8:99::fe/64 dev guests nodad")
        ways = (
            f"{six} ip route add default via 10.99.0.254; ip route add default via 2001:db8:99::fe"
        )
        lab.run(host, [*enter, "sh", "-c", ways], check=True)
        yield enter


_KNOCK = """
import socket, sys
vip, *clients = sys.argv[1:]
for client in clients:
    one = socket.socket()
    one.bind((client, 0))
    one.setblocking(False)
    one.connect_ex((vip, 80))
"""


def test_who_asks_by_another_interface_is_served_whatever_his_bucket(
    lab_up: LabUp, tmp_path: Path
) -> None:
    """Containers, a VPN, a second NIC: TCP and UDP, at rest and while all buckets are on the
    move."""
    lab = lab_up(hosts=3)
    with ExitStack() as stack:
        enter = stack.enter_context(routed(lab, "web1"))
        apply_all(lab)
        stack.enter_context(nginx(lab, "web1", tmp_path))
        for vip in (VIP, VIP6):
            echo = lab.popen("web1", [sys.executable, "-c", ECHO, vip], stdout=subprocess.PIPE)
            stack.callback(echo.kill)
            assert echo.stdout
            assert echo.stdout.readline() == "ready\n"
        ask = [*enter, sys.executable, "-c", _ASK, VIP, VIP6, *GUESTS, *GUESTS6]
        for drain in ("0", "60s"):
            shell(lab, "web1", f"vipnft apply --switch --drain {drain}")
            said = lab.run("web1", ask, check=True, timeout=600).stdout.split()
            assert Counter(said) == {"web1": 2 * len(GUESTS) + 2 * len(GUESTS6)}
            scenarios.rebalance(
                lab, scenarios.with_weights(lab.config.read_text(), {"web1": 0}), drain="60s"
            )


def test_answers_may_leave_by_another_way_than_questions_came(
    lab_up: LabUp, tmp_path: Path
) -> None:
    """A client that asks by a second NIC, and whose route back is by the segment."""
    lab = lab_up(hosts=3)
    with ExitStack() as stack:
        enter = stack.enter_context(routed(lab, "web1"))
        apply_all(lab)
        stack.enter_context(nginx(lab, "web1", tmp_path))
        shell(lab, "web1", "ip route del 10.99.0.0/24; ip route add 10.99.0.0/24 via 192.0.2.254")
        with Wire(lab, "router") as wire:
            lab.run("web1", [*enter, sys.executable, "-c", _KNOCK, VIP, *GUESTS], check=True)

            def all_answered(tally: Tally) -> bool:
                return {flow.client for flow in tally.answers} >= set(GUESTS)

            wire.until(all_answered)


def test_a_query_beyond_the_segment_says_that_interfaces_own_mac(lab_up: LabUp) -> None:
    """Or its neighbour answers a MAC that is not there, and learns the listen MAC."""
    lab = lab_up(hosts=2)
    with routed(lab, "web1") as enter:
        apply_all(lab)
        lab.run("web1", [*enter, "ip", "neigh", "flush", "all"], check=True)
        shell(lab, "web1", f"ip neigh flush dev guests; ping -c1 -W5 -I {VIP} {GUESTS[0]}")
        learned = lab.run("web1", [*enter, "ip", "neigh"], check=True).stdout
        own = shell(lab, "web1", "cat /sys/class/net/guests/address").strip()
        assert f"lladdr {own}" in learned


@contextmanager
def flooding(lab: Lab, frames: list[bytes]) -> Iterator[None]:
    """Send these out of the router, over and over, from the first time on."""
    first, over = threading.Event(), threading.Event()

    def flood() -> None:
        while not over.is_set():
            send(lab, "router", *frames)
            first.set()

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        assert first.wait(60)
        yield
    finally:
        over.set()
        flooder.join()


@pytest.mark.parametrize("kind", ["UDP", "SYN"])
def test_a_flood_of_strangers_fills_nothing(lab_up: LabUp, tmp_path: Path, kind: str) -> None:
    """From ten thousand sources, again and again: conntrack stays empty, and meanwhile clients are
    served, by the VIP and by the host's own address."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    frames = []
    for number in range(10_000):
        source = f"10.{70 + number // 65536}.{number >> 8 & 255}.{number & 255}"
        body = udp(source, VIP, 5353) if kind == "UDP" else syn(source, VIP, 80)
        frames.append(mac(LISTEN) + mac(ROUTER) + IPV4 + body)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        clients = [*of(lab, "web1", 20), *of(lab, "web2", 20)]
        stack.enter_context(flooding(lab, frames))
        assert asked(lab, "http_client.py", clients) == which(lab, clients)
        assert set(asked(lab, "http_client.py", clients, "192.0.2.1").values()) == {"web1"}
    for host in lab.hosts:
        count = shell(lab, host, "cat /proc/sys/net/netfilter/nf_conntrack_count")
        assert count.strip() == "0"
