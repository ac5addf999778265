"""Clients that ask all the time, and what passed at the router's port in answer to each question.

Rule 1: an address asks one question at a time, so that an answer is its question's by where it goes
        to; it asks again once that one is judged.
Rule 2: counted where every frame passes once, at the router's port. A frame that was dropped there
        for want of room is an error.
Rule 3: hosts' kernels answer, and no process of theirs: what is not answered, no host took.
"""

import errno
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, ip_address

from tests.netns.packets import IPV4, IPV6, ROUTER, arp, checksum, icmp6, ipv4
from tests.netns.support import LISTEN, VIP, VIP6
from vipnft.errors import VipnftError
from vipnft.lab import plan
from vipnft.lab.capture import BUFFER_BYTES
from vipnft.lab.frames import ARP_REPLY, SNAP_BYTES, Frame, parse
from vipnft.lab.lab import Lab
from vipnft.lab.reader import Reader, widen
from vipnft.ruleset import affinity
from vipnft.ruleset.ndp import mac

JUDGED_S = 6.0
"""For how long answers to a question are counted, in seconds."""
_AGAIN_S = (1.0, 3.0)  # when a client sends a SYN again (RFC 6298), in seconds after the first
_ADDRESSES = 40  # of each bucket and version
_BATCH_S = 0.005
_ECHO_REPLY, _ECHO_REPLY6 = 0, 129
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
_ETH_P_ALL = 0x0003


class Kind(StrEnum):
    """What is asked: an echo of either IP version, a connection, or who has the VIP."""

    PING, PING6, SYN, WHO_HAS = "ping", "ping6", "syn", "arp"


_TURNS = (*[Kind.PING, Kind.SYN, Kind.PING, Kind.PING6] * 2, Kind.PING, Kind.WHO_HAS)


@dataclass(slots=True)
class Question:
    """One question, when it was `asked` (monotonic, seconds), and its answers: each by the MAC that
    it came from and, of a connection, its first sequence number. `answered`: before it had to be
    asked again."""

    kind: Kind
    bucket: int
    client: str
    asked: float
    port: int = 0
    number: int = 0
    answers: list[tuple[str, int]] = field(default_factory=list)
    times: int = 1
    answered: bool = False

    @property
    def is_double(self) -> bool:
        """Whether two answered, or one twice. To say a SYN|ACK again is no second answer; and who
        is asked again, when the client has reset the first connection, begins another."""
        if self.kind is not Kind.SYN:
            return len(self.answers) > 1
        hosts = {who for who, _ in self.answers}
        return len(hosts) > 1 or len(set(self.answers)) > self.times


class Ledger:
    """What became of all questions: those not answered and those answered twice by themselves, the
    others as figures; `served`: by bucket, from when on which MAC answered."""

    def __init__(self) -> None:
        self.asked: Counter[Kind] = Counter()
        self.unanswered: list[Question] = []
        self.double: list[Question] = []
        self.served: dict[int, list[tuple[float, str]]] = {}

    def judge(self, question: Question) -> None:
        """Note one whose time is over."""
        self.asked[question.kind] += 1
        if question.is_double:
            self.double.append(question)
        if not question.answered:
            self.unanswered.append(question)
        for who, _ in question.answers[:1]:
            known = self.served.setdefault(question.bucket, [])
            if not known or known[-1][1] != who:
                known.append((question.asked, who))


class Traffic(Reader):
    """Asks a question of each bucket every so many seconds, from the router's port on."""

    def __init__(self, lab: Lab, every: float) -> None:
        self.ledger = Ledger()
        self._clients = _clients(lab.cluster.seed, lab.cluster.buckets)
        self._pause = every / lab.cluster.buckets
        self._open: dict[str, Question] = {}
        self._again = [(wait, deque[Question]()) for wait in _AGAIN_S]
        self._over = threading.Event()
        source = lab.socket("router", socket.AF_PACKET, socket.SOCK_RAW, 0)
        widen(source, BUFFER_BYTES)
        source.setblocking(False)
        source.bind(("eth0", _ETH_P_ALL))
        super().__init__(source, "answers")
        self._asker = threading.Thread(target=self._asking, name="questions", daemon=True)
        self._asker.start()

    @property
    def doubles(self) -> int:
        """How many questions were answered twice by now."""
        return len(self.ledger.double) + sum(q.is_double for q in [*self._open.values()])

    def finish(self) -> Ledger:
        """Ask no more, wait for answers, and return what became of all; an error of either thread
        is raised."""
        self._over.set()
        self._asker.join()
        end = time.monotonic() + 2.0
        while time.monotonic() < end and not all(q.answers for q in [*self._open.values()]):
            time.sleep(0.05)
        self.stop()
        self.check()
        self._judge(float("inf"))
        return self.ledger

    def check(self) -> None:
        """Raise what ended a thread."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End both threads. Twice does no harm."""
        self._over.set()
        self._asker.join()
        super().stop()

    # Questions.

    def _asking(self) -> None:
        began, number = time.monotonic(), 0
        try:
            while not self._over.wait(_BATCH_S):
                now = time.monotonic()
                due = int((now - began) / self._pause)
                # After a standstill: no flood.
                for one in range(max(number, due - len(self._clients)), due):
                    self._ask(one)
                number = due
                self._ask_again(now)
                self._judge(now - JUDGED_S)
        except BaseException as failure:
            self._failed(failure)

    def _ask(self, number: int) -> None:
        turn, bucket = divmod(number, len(self._clients))
        kind = _TURNS[(turn + bucket) % len(_TURNS)]
        client = self._clients[bucket][kind is Kind.PING6][turn % _ADDRESSES]
        if client in self._open:
            return
        question = Question(kind, bucket, client, time.monotonic())
        if kind is Kind.SYN:
            question.port, question.number = 1024 + turn % 60_000, (turn * 7919) & 0xFFFFFF
        self._open[client] = question
        if not self._sent(question):
            del self._open[client]  # never asked
        elif kind is Kind.SYN:
            for _, queue in self._again:
                queue.append(question)

    def _ask_again(self, now: float) -> None:
        for wait, queue in self._again:
            while queue and now - queue[0].asked > wait:
                question = queue.popleft()
                if not question.answers:
                    question.times += 1
                    self._sent(question)

    def _sent(self, question: Question) -> bool:
        """Send it; tell whether it is on its way: no queue was full here."""
        try:
            self._socket.send(_frame(question))
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ENOBUFS}:
                raise
            return False
        return True

    def _judge(self, before: float) -> None:
        """Judge what was asked before a time."""
        while self._open:
            client = next(iter(self._open))
            if self._open[client].asked > before:
                return
            self.ledger.judge(self._open.pop(client))

    # Answers.

    def _drain(self) -> None:
        while True:
            try:
                data, whence = self._socket.recvfrom(SNAP_BYTES)
            except BlockingIOError:
                break
            if whence[2] != socket.PACKET_OUTGOING and (frame := parse(data)):
                self._answered(frame)
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        if dropped := struct.unpack("II", statistics)[1]:
            raise VipnftError(f"{dropped} frames were not counted at the router's port")

    def _answered(self, frame: Frame) -> None:
        said = _answer(frame)
        question = self._open.get(said[0]) if said else None
        if said is None or question is None or question.kind is not said[1]:
            return
        if question.kind is Kind.SYN and (frame.dport, frame.tcp.ack) != (
            question.port,
            question.number + 1,
        ):
            return  # of an earlier question
        question.answered |= question.times == 1
        question.answers.append((frame.src_mac, said[2]))


def _answer(frame: Frame) -> tuple[str, Kind, int] | None:
    """Return whom a frame answers, what was asked, and the number that tells it from another."""
    if frame.arp is not None:
        said = frame.arp
        if said.operation == ARP_REPLY and said.sender == VIP:
            return said.target, Kind.WHO_HAS, 0
    elif frame.src == VIP and frame.icmp.type == _ECHO_REPLY:
        return frame.dst, Kind.PING, 0
    elif frame.src == VIP6 and frame.icmp.type == _ECHO_REPLY6:
        return frame.dst, Kind.PING6, 0
    elif frame.src == VIP and frame.is_syn_ack:
        return frame.dst, Kind.SYN, frame.tcp.seq
    return None


def _clients(seed: int, buckets: int) -> list[tuple[list[str], list[str]]]:
    """Return, by bucket, addresses of either IP version."""
    found: list[tuple[list[str], list[str]]] = [([], []) for _ in range(buckets)]
    for six, address in enumerate((plan.client_address, plan.client_address6)):
        number = missing = 0
        while missing < buckets:
            one = str(address(number))
            number += 1
            its = found[affinity.bucket(affinity.CLIENT, ip_address(one), seed, buckets)][six]
            if len(its) < _ADDRESSES:
                its.append(one)
                missing += len(its) == _ADDRESSES
    return found


_HEAD, _HEAD6 = (mac(LISTEN) + mac(ROUTER) + kind for kind in (IPV4, IPV6))


def _frame(question: Question) -> bytes:
    match question.kind:
        case Kind.PING:
            return _ping(question.client)
        case Kind.PING6:
            return _ping6(question.client)
        case Kind.WHO_HAS:
            return arp(question.client)
    return _HEAD + ipv4(question.client, VIP, 6, _syn(question))


@cache
def _ping(client: str) -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return _HEAD + ipv4(client, VIP, 1, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


@cache
def _ping6(client: str) -> bytes:
    return _HEAD6 + icmp6(client, VIP6, struct.pack("!BBHHH", 128, 0, 0, 1, 1))


def _syn(question: Question) -> bytes:
    ends = IPv4Address(question.client).packed + IPv4Address(VIP).packed
    body = struct.pack("!HHIIBBHHH", question.port, 80, question.number, 0, 5 << 4, 2, 1024, 0, 0)
    total = checksum(ends + struct.pack("!HH", 6, len(body)) + body)
    return body[:16] + struct.pack("!H", total) + body[18:]


@contextmanager
def asking(lab: Lab, every: float) -> Iterator[Traffic]:
    """Ask every bucket's clients all the time; every host's kernel takes connections to port 80."""
    with ExitStack() as stack:
        for host in lab.hosts:
            listening = stack.enter_context(lab.socket(host, socket.AF_INET, socket.SOCK_STREAM))
            listening.bind(("0.0.0.0", 80))  # noqa: S104 - in a lab
            listening.listen(4096)
        yield stack.enter_context(Traffic(lab, every))
