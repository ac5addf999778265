"""Who asked and who answered, counted over frames. Pure: frames in, figures out.

Rule 1: a SYN and its answers belong together by the client's sequence number, not only by
        ports: a port may be used again, a SYN may be sent twice.
Rule 2: two hosts that answer one SYN choose two sequence numbers. One host that repeats its
        answer repeats its number: that is no double answer.
Rule 3: count where every frame passes once: at the router's port, not at the bridge.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from vipnft.lab.frames import ARP_REPLY, ARP_REQUEST, SOLICIT, UDP, Frame, Nd

DNS = 53


class Flow(NamedTuple):
    """An attempt to connect; `number` is the client's first sequence number."""

    client: str
    port: int
    server: str
    service: int
    number: int


class Answer(NamedTuple):
    """What tells one answer to a SYN from another; `refused`: an RST, not a SYN|ACK."""

    mac: str
    number: int
    refused: bool


class Asked(NamedTuple):
    """An ARP question: who asks, and for which address."""

    asker: str
    target: str


class Query(NamedTuple):
    """A client's UDP port from which it queries, and the server."""

    client: str
    port: int
    server: str


def _counters() -> defaultdict[Flow, Counter[Answer]]:
    return defaultdict(Counter)


@dataclass(slots=True)
class Tally:
    """All figures; `add` is the only thing that changes them."""

    frames: int = 0
    syns: Counter[Flow] = field(default_factory=Counter)
    """SYNs by attempt (more than one: the client sent it again)."""
    answers: defaultdict[Flow, Counter[Answer]] = field(default_factory=_counters)
    """SYN|ACKs, and RSTs in answer to SYNs, by attempt."""
    arp_requests: Counter[Asked] = field(default_factory=Counter)
    arp_replies: Counter[Asked] = field(default_factory=Counter)
    arp_macs: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What ARP replies said, by address: sender MACs in the packet (not in the frame)."""
    solicits: Counter[Asked] = field(default_factory=Counter)
    """Neighbour solicitations, by who asks ("::": somebody who wants the address)."""
    adverts: Counter[Asked] = field(default_factory=Counter)
    """Neighbour advertisements, by whom they go to."""
    nd_macs: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What advertisements said, by address: MACs in their option."""
    queries: Counter[Query] = field(default_factory=Counter)
    """DNS queries by client, port and server."""
    responses: defaultdict[Query, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """DNS answers by the query's key, then by the MAC of the frame they came in."""
    sources: Counter[str] = field(default_factory=Counter)
    """Frames by source MAC."""

    def add(self, frame: Frame) -> None:
        """Count one frame."""
        self.frames += 1
        self.sources[frame.src_mac] += 1
        if frame.arp is not None:
            self._arp(frame)
        elif frame.icmp.nd is not None:
            self._nd(frame, frame.icmp.nd)
        elif frame.is_syn:
            self.syns[Flow(frame.src, frame.sport, frame.dst, frame.dport, frame.tcp.seq)] += 1
        elif frame.is_syn_ack or frame.is_rst:
            self._answer(frame)
        elif frame.protocol == UDP:
            self._dns(frame)

    def _arp(self, frame: Frame) -> None:
        arp = frame.arp
        if arp is None:
            return
        if arp.operation == ARP_REQUEST and arp.sender != arp.target:  # else: an announcement
            self.arp_requests[Asked(arp.sender, arp.target)] += 1
        elif arp.operation == ARP_REPLY:
            self.arp_replies[Asked(arp.target, arp.sender)] += 1
            self.arp_macs[arp.sender][arp.sender_mac] += 1

    def _nd(self, frame: Frame, nd: Nd) -> None:
        if nd.type == SOLICIT:
            self.solicits[Asked(frame.src, nd.target)] += 1
        else:
            self.adverts[Asked(frame.dst, nd.target)] += 1
            self.nd_macs[nd.target][nd.mac] += 1

    def _answer(self, frame: Frame) -> None:
        first = (frame.tcp.ack - 1) & 0xFFFFFFFF
        flow = Flow(frame.dst, frame.dport, frame.src, frame.sport, first)
        # An RST answers a SYN only if it acknowledges one; others end established connections.
        if frame.is_syn_ack or flow in self.syns:
            self.answers[flow][Answer(frame.src_mac, frame.tcp.seq, frame.is_rst)] += 1

    def _dns(self, frame: Frame) -> None:
        if frame.dport == DNS:
            self.queries[Query(frame.src, frame.sport, frame.dst)] += 1
        elif frame.sport == DNS:
            self.responses[Query(frame.dst, frame.dport, frame.src)][frame.src_mac] += 1

    @property
    def syn_acks(self) -> int:
        """SYN|ACKs in all, repeated ones too."""
        return sum(
            times
            for several in self.answers.values()
            for answer, times in several.items()
            if not answer.refused
        )

    @property
    def doubles(self) -> list[Flow]:
        """Attempts that more than one host answered: the invariant's breach, each one.

        RSTs have no number of their own: they are double if there are more of them than SYNs.
        """
        return [
            flow
            for flow, several in self.answers.items()
            if len(several) > 1 or self._refusals(several) > self.syns[flow]
        ]

    @staticmethod
    def _refusals(several: Counter[Answer]) -> int:
        return sum(times for answer, times in several.items() if answer.refused)

    @property
    def unanswered(self) -> list[Flow]:
        """Attempts that nobody answered, neither with SYN|ACK nor with RST."""
        return [flow for flow in self.syns if flow not in self.answers]

    @property
    def refused(self) -> list[Flow]:
        """Attempts answered with an RST."""
        return [flow for flow, several in self.answers.items() if self._refusals(several)]

    @property
    def double_responses(self) -> list[Query]:
        """DNS clients' ports that got more answers than they sent queries."""
        return [
            query for query, macs in self.responses.items() if macs.total() > self.queries[query]
        ]

    @property
    def unanswered_queries(self) -> list[Query]:
        """DNS clients' ports from which queries were sent and nobody answered."""
        return [query for query in self.queries if query not in self.responses]

    def syn_acks_by_mac(self) -> Counter[str]:
        """Attempts answered with SYN|ACK, by the source MAC of the answer's frame."""
        found: Counter[str] = Counter()
        for several in self.answers.values():
            found.update({answer.mac for answer in several if not answer.refused})
        return found
