"""What else TCP and ICMP do, before, within and after a move."""

import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import VIP, VIP6, nginx, on_hosts, shell, until
from tests.netns.test_handover import both, caller, of, to_web2
from tests.netns.test_moves import give
from tests.netns.test_untracked import page, talking
from vipnft.buckets.phases import owners_of
from vipnft.buckets.ranges import ranges
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ICMP, ICMP6, Frame
from vipnft.lab.lab import Lab
from vipnft.lab.plan import host_mac

FAST_OPEN = 0x20000000  # linux/socket.h: MSG_FASTOPEN
AGAIN_S = 0.9
"""Seconds, and a little more, before a SYN|ACK is sent again."""
SERVER = """
import asyncio, socket, sys
BYE = b"bye"
async def serve(reader, writer):
    while data := await reader.read(99):
        writer.write(socket.gethostname().encode())
        if data == BYE:
            break
    writer.close()
async def main():
    for family in (socket.AF_INET, socket.AF_INET6):
        one = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(("", 80))
        one.listen(99)
        one.setsockopt(socket.IPPROTO_TCP, getattr(socket, sys.argv[1]), 60)
        await asyncio.start_server(serve, sock=one)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
LOSE = (
    "nft 'table inet x {{ chain f {{ type filter hook forward priority 0;"
    " {} {} {} drop; {} {} {} drop; }}; }}'"
)
HALF_OPEN = "ss -tnoH state syn-recv"
FOUND = "nft delete table inet x"


def lose(direction: str, what: str = "") -> str:
    """Return a script that loses what goes to a VIP (`daddr`), or comes from it (`saddr`)."""
    return LOSE.format(f"ip {direction}", VIP, what, f"ip6 {direction}", VIP6, what)


@contextmanager
def served(lab: Lab, option: str = "TCP_FASTOPEN") -> Iterator[None]:
    """Serve the host's name to whoever says anything, and close on "bye", on every host."""
    with ExitStack() as stack:
        for host in lab.hosts:
            words, pipe = [sys.executable, "-c", SERVER, option], subprocess.PIPE
            one = lab.popen(host, words, stdout=pipe, stderr=subprocess.DEVNULL)
            stack.callback(one.kill)
            assert one.stdout
            assert one.stdout.readline() == "ready\n"
        yield


def at_rest(lab: Lab) -> None:
    """Apply everywhere, and let nobody join: at a first time all buckets may be another's still."""
    for host in lab.hosts:
        shell(lab, host, "vipnft apply --switch --drain 0")


def resets(wire: Wire) -> list[Frame]:
    return [frame for frame in wire.frames if frame.is_rst and frame.src in (VIP, VIP6)]


def end(lab: Lab) -> None:
    """End the move as the kernel's timers will."""
    sets = ("netdev vipnft leaving", "inet vipnft drains", "inet vipnft joined")
    for host in lab.hosts:
        shell(lab, host, "; ".join(f"nft flush set {one}" for one in sets))


def test_the_last_segment_of_a_handshake_comes_after_the_move(lab_up: LabUp) -> None:
    """The client is connected, and the former owner alone knows whom it had a SYN from: until it
    would send its SYN|ACK again, which does not leave; then Linux forgets the handshake."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    mine = ranges(b for b, owner in enumerate(owners_of(lab.cluster)) if owner == "web1")
    clients = both(lab, "web1", 8)
    with ExitStack() as stack:
        stack.enter_context(served(lab))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        for _ in range(9):
            callers = [caller(lab, client) for client in clients]
            connections = [stack.enter_context(one) for one, _ in callers]
            shell(lab, "router", lose("daddr", "tcp flags & (syn | ack) == ack"))
            began = time.monotonic()
            for one, vip in callers:
                one.connect((vip, 80))
                one.sendall(b"?")
            give(lab, mine, "web1", "web2")
            shell(lab, "router", FOUND)
            if time.monotonic() < began + AGAIN_S:
                break
            give(lab, mine, "web2", "web1", drain="0")
        else:
            pytest.skip(f"this machine moved no bucket within {AGAIN_S} s, in nine tries")
        assert [one.recv(99) for one in connections] == [b"web1"] * len(clients)
        wire.stop()
    assert resets(wire) == []
    assert wire.tally.doubles == []


def test_a_deferred_handshake_is_over_after_the_move(lab_up: LabUp) -> None:
    """A server may want no connection on which nothing is said: the kernel keeps it half open."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    clients = both(lab, "web1", 8)
    with ExitStack() as stack:
        stack.enter_context(served(lab, "TCP_DEFER_ACCEPT"))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        connections = []
        for client in clients:
            one, vip = caller(lab, client)
            connections.append(stack.enter_context(one))
            one.connect((vip, 80))
        to_web2(lab)
        assert not shell(lab, "web1", "ss -tnH state established")
        for one in connections:
            one.sendall(b"?")
        assert [one.recv(99) for one in connections] == [b"web1"] * len(clients)
        wire.stop()
    assert (resets(wire), wire.tally.doubles) == ([], [])


def test_a_syn_ack_later_than_ever_breaks_nothing(lab_up: LabUp) -> None:
    """With more tcp_synack_retries than 5 a former owner may answer a SYN when nobody keeps it
    from that any more: the client takes one of both answers, and that connection is whole."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    shell(lab, "web1", "sysctl -qw net.ipv4.tcp_synack_retries=8")
    mine = ranges(b for b, owner in enumerate(owners_of(lab.cluster)) if owner == "web1")
    clients = both(lab, "web1", 8)
    with ExitStack() as stack:
        stack.enter_context(served(lab))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        shell(lab, "router", lose("saddr"))
        connections = []
        for client in clients:
            one, vip = caller(lab, client)
            connections.append(stack.enter_context(one))
            one.setblocking(False)
            one.connect_ex((vip, 80))
        # The next time is 4 s after the second: Linux forgets what may not leave then.
        half_open = partial(shell, lab, "web1", HALF_OPEN)
        until(lambda: len(re.findall(r",[2-9]\)", half_open())) == len(clients))
        if half_open().count(",2)") != len(clients):
            pytest.skip("this machine looked on too seldom")
        give(lab, mine, "web1", "web2")
        shell(lab, "web1", "nft flush set inet vipnft given")  # as after 64 s

        late = len(wire.frames)

        def both_answered() -> bool:
            macs = {frame.src_mac for frame in wire.frames[late:] if frame.is_syn_ack}
            return macs == {host_mac(1), host_mac(2)}

        until(both_answered, what="an answer from each")
        shell(lab, "router", FOUND)
        for one in connections:
            assert select.select([], [one], [], 60)[1], "not connected"
            one.settimeout(60)
            for _ in range(3):
                one.sendall(b"?")
                assert one.recv(99) in (b"web1", b"web2")
        wire.stop()
    assert resets(wire) == []


def test_connections_by_cookies_go_on(lab_up: LabUp, tmp_path: Path) -> None:
    """A host that keeps nothing of a SYN knows by its key whose last segment this is. (In a lab all
    hosts are one kernel, with one key: only one of them has cookies at a time.)"""
    lab = lab_up(hosts=2)
    at_rest(lab)
    shell(lab, "web1", "sysctl -qw net.ipv4.tcp_syncookies=2")
    shell(lab, "web2", "sysctl -qw net.ipv4.tcp_syncookies=0")
    clients = both(lab, "web1", 15)
    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, nginx))
        old = stack.enter_context(talking(lab, clients[::3]))
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        shell(lab, "router", lose("daddr", "tcp flags & (syn | ack) == ack"))
        late = stack.enter_context(talking(lab, clients[1::3]))
        to_web2(lab)
        shell(lab, "router", FOUND)
        for _ in range(3):
            assert {page(one) for one in [*old, *late]} == {b"web1"}
        shell(lab, "web1", "sysctl -qw net.ipv4.tcp_syncookies=0")
        shell(lab, "web2", "sysctl -qw net.ipv4.tcp_syncookies=2")
        with talking(lab, clients[2::3]) as new:
            assert {page(one) for one in new} == {b"web2"}
        wire.stop()
    counted = "nstat -asz TcpExtSyncookiesRecv | awk '/Recv/ {print $2}'"
    assert [int(shell(lab, host, counted)) for host in lab.hosts] == [20, 10]
    assert (resets(wire), wire.tally.doubles) == ([], [])


def test_a_fast_open_goes_on_without_at_the_new_owner(lab_up: LabUp) -> None:
    """Its cookie is the former owner's: the new one takes the SYN, and lets the data come again."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    for node in ("clients", *lab.hosts):
        shell(lab, node, "sysctl -qw net.ipv4.tcp_fastopen=3")
    clients = both(lab, "web1", 4)

    def opened(stack: ExitStack) -> list[socket.socket]:
        several = []
        for client in clients:
            one, vip = caller(lab, client)
            several.append(stack.enter_context(one))
            one.setblocking(True)
            one.sendto(b"?", FAST_OPEN, (vip, 80))
            one.settimeout(30)
        return several

    def passive(host: str) -> tuple[int, int]:
        ask = "nstat -asz TcpExtTCPFastOpenPassive TcpExtTCPFastOpenPassiveFail"
        counts = dict(line.split()[:2] for line in shell(lab, host, ask).splitlines()[1:])
        return int(counts["TcpExtTCPFastOpenPassive"]), int(counts["TcpExtTCPFastOpenPassiveFail"])

    with ExitStack() as stack:
        stack.enter_context(served(lab))
        assert {one.recv(99) for one in opened(stack)} == {b"web1"}, "for a cookie"
        old = opened(stack)
        assert {one.recv(99) for one in old} == {b"web1"}
        assert passive("web1") == (len(clients), 0)
        to_web2(lab)
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        assert {one.recv(99) for one in opened(stack)} == {b"web2"}
        assert passive("web2") == (0, len(clients))
        for one in old:
            one.sendall(b"?")
            assert one.recv(99) == b"web1"
        assert {one.recv(99) for one in opened(stack)} == {b"web2"}
        assert passive("web2") == (len(clients), len(clients)), "with a cookie of its own"
        wire.stop()
    assert (resets(wire), wire.tally.doubles) == ([], [])


@pytest.mark.parametrize("owner", ["web1", "web2"])
def test_who_sends_on_after_the_end_is_reset_after_the_move(lab_up: LabUp, owner: str) -> None:
    """The client has the end at once; what it sends all the same is refused only once the bucket is
    at rest: by then the move's hosts may say again what they don't know."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    clients = both(lab, "web1", 2)
    with ExitStack() as stack:
        stack.enter_context(served(lab))

        def connected(client: str) -> socket.socket:
            one, vip = caller(lab, client)
            stack.enter_context(one)
            one.connect((vip, 80))
            return one

        def ended(one: socket.socket) -> bytes:
            """Let the server end a connection, and send on."""
            one.sendall(b"bye")
            said = b"".join(iter(partial(one.recv, 99), b""))
            one.sendall(b"and another thing")
            return said

        def refused(one: socket.socket) -> bool:
            """Tell whether a reset has come."""
            poll = select.poll()
            poll.register(one, 0)
            return any(event & select.POLLERR for _, event in poll.poll(0))

        before = [connected(client) for client in clients]
        assert {ended(one) for one in before} == {b"web1"}
        until(lambda: all(map(refused, before)), what="the reset")
        moving = [connected(client) for client in clients] if owner == "web1" else []
        to_web2(lab)
        moving = moving or [connected(client) for client in clients]
        assert {ended(one) for one in moving} == {owner.encode()}
        shell(lab, "clients", f"ping -c5 -i0.2 {VIP}")
        assert not any(map(refused, moving))
        end(lab)
        for one in moving:
            with suppress(BrokenPipeError):  # what was sent before was sent again, and refused
                one.sendall(b"once more")
        until(lambda: all(map(refused, moving)), what="the reset")


BIG = 300_000


def fetched(one: socket.socket) -> int:
    """Fetch the big file on an open connection."""
    one.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = b"", b"", b""
    while not body and b"\r\n\r\n" not in head:
        head += one.recv(4096)
    size = len(head.partition(b"\r\n\r\n")[2])
    while size < BIG:
        more = one.recv(65536)
        assert more, "closed"
        size += len(more)
    return size


def test_path_mtu_is_found_before_within_and_after_a_move(lab_up: LabUp, tmp_path: Path) -> None:
    """Behind the router packets have to be smaller: its errors reach the host that has the
    connection, each time for clients of which nobody knows yet."""
    lab = lab_up(hosts=2, mtu=1300)
    at_rest(lab)
    clients = iter(zip(of(lab, "web1", 12), of(lab, "web1", 12, six=True), strict=True))

    def some() -> list[str]:
        return [client for _ in range(3) for client in next(clients)]

    def errors(wire: Wire) -> Counter[int]:
        kinds = {(ICMP, 3): 4, (ICMP6, 2): 6}
        return Counter(kinds.get((f.protocol, f.icmp.type), 0) for f in wire.frames)

    with ExitStack() as stack:
        stack.enter_context(on_hosts(lab, tmp_path, partial(nginx, size=BIG)))

        def finds(several: list[socket.socket], host: str, clients: list[str]) -> None:
            with Wire(lab, "router", keep=True) as wire:
                assert [fetched(one) for one in several] == [BIG] * len(several)
                shell(lab, "router", "ping -c1 192.0.2.1")
            assert min(errors(wire)[version] for version in (4, 6)) >= 3
            for client in clients:
                vip = VIP6 if ":" in client else VIP
                route = f"ip route get {client} from {vip}"
                assert ["mtu 1300" in shell(lab, one, route) for one in lab.hosts] == [
                    one == host for one in lab.hosts
                ]

        before, within, new, after = some(), some(), some(), some()
        finds(stack.enter_context(talking(lab, before)), "web1", before)
        old = stack.enter_context(talking(lab, within))
        assert {page(one) for one in old} == {b"web1"}
        to_web2(lab)
        finds(old, "web1", within)
        finds(stack.enter_context(talking(lab, new)), "web2", new)
        end(lab)
        finds(stack.enter_context(talking(lab, after)), "web2", after)


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_each_ping_has_one_answer_throughout(lab_up: LabUp, tmp_path: Path, six: bool) -> None:
    """From the former owner, then from the new one, and from nobody twice."""
    lab = lab_up(hosts=2)
    at_rest(lab)
    (client,) = of(lab, "web1", 1, six=six)
    vip = VIP6 if six else VIP
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(lab, "router", keep=True))
        file = stack.enter_context((tmp_path / "ping").open("w+"))
        ping = lab.popen("clients", ["ping", "-i0.01", "-I", client, vip], stdout=file)
        stack.callback(ping.kill)

        def answered(host: int) -> bool:
            macs = {f.src_mac for f in list(wire.frames) if f.icmp.type in {0, 129}}
            return host_mac(host) in macs

        until(lambda: answered(1), what="the former owner")
        to_web2(lab)
        until(lambda: answered(2), what="the new owner")
        ping.send_signal(2)
        ping.wait()
        wire.stop()
    said = (tmp_path / "ping").read_text()
    assert "DUP!" not in said
    macs = [f.src_mac for f in wire.frames if f.icmp.type in {0, 129}]
    assert macs == sorted(macs), "once the new owner has answered, the former one does not"
