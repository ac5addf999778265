"""The netdev table: what happens to a frame before the IP stack sees it. (What leaves: egress.)

Rule 1: nothing stands before the bucket lookup that "not mine" does not need: of N hosts
        each drops (N-1)/N of all packets there, before conntrack and the IP stack. One rule
        says so: no chain of its own, no counter, no protocol that need be looked for twice.
Rule 2: what is not decided is dropped; the policy is accept, since a netdev policy
        takes effect before the transaction commits.
Rule 3: the stack itself never answers ARP or neighbour discovery for a VIP. The rules do, so
        that a host whose rules are gone says nothing at all.
Rule 4: `meta mark` has the bucket only while rules here need it; beyond, it is 0 but for what
        the inet table is to look at: a bucket on the move, or a fragment.
Rule 5: never `iif` or an index in a rule: a re-created interface has another.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from vipnft.model import BROADCAST, Cluster, Mode, Nic, Protocol, Service, send_mac
from vipnft.ruleset import affinity, ndp, strays
from vipnft.ruleset.affinity import CLIENT, V4, V6, HashKey, Version
from vipnft.ruleset.lease import lease, leased
from vipnft.ruleset.ndp import as_number
from vipnft.ruleset.nftjson import (
    ACCEPT,
    DROP,
    ICMPV6,
    IIF,
    IIFNAME,
    IIFTYPE,
    L4PROTO,
    MARK,
    PKTTYPE,
    PROTOCOL,
    SCTP,
    TCP,
    UDP,
    Commands,
    Expr,
    Stmt,
    assign,
    both,
    exists,
    flagged,
    fwd,
    goto,
    match,
    one_of,
    payload,
    raw,
    vmap,
)
from vipnft.ruleset.served import hashed, ports, to_vip, versions, vips
from vipnft.ruleset.tables import NETDEV
from vipnft.ruleset.tags import NESTED, OTHER_VLAN

FRAGMENT = 0x10000
"""The mark of a fragment whose bucket can't be known yet; no bucket has it."""
MOVING = 0x20000
"""What marks a packet of a bucket on the move, besides its bucket."""
NUMBERS = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP}

OPENS = match(both(payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]), "syn")
"""The first segment of a TCP connection."""
UNRELATED = match(both(payload("tcp", "flags"), ["rst", "ack"]), 0)
"""A segment that belongs to no open connection: one that opens one, or a port scanner's. Both are
refused with the same reset."""
_OFFSET: dict[str, Expr] = {
    "ip": both(payload("ip", "frag-off"), 0x1FFF),
    "ip6": {"exthdr": {"name": "frag", "field": "frag-off"}},
}
_RAW = -300  # libnftables prints priorities by name where it has one


def netdev(
    cluster: Cluster,
    nics: Sequence[Nic],
    mode: Mode,
    macs: Mapping[str, str],
    tagged: Collection[str],
    *,
    armed: bool,
) -> Commands:
    """Return the netdev table's commands, without buckets and without a grant."""
    deal = _Deal(cluster)
    return [
        *_sets(cluster.buckets, armed=armed),
        *strays.counters(nics, mode),
        *_answers(nics, mode, macs),
        *_takes(cluster.services, nics, mode, macs),
        *(_fragments(nics, mode, macs) if deal.special else []),
        *_rests(deal, nics),
        *(c for number, nic in enumerate(nics) for c in _ingress(deal, nic, number, tagged, mode)),
    ]


class _Deal:
    """How packets are hashed into buckets."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.kind, self.special = affinity.dealt(cluster.services)

    def by_bucket(self, of: Expr) -> list[Stmt]:
        return [hashed(self._cluster, of), vmap(MARK, "buckets")]

    def by_source(self, version: Version, kind: HashKey | None = None) -> list[Stmt]:
        return self.by_bucket(affinity.source(kind or self.kind, version))


def _sets(buckets: int, *, armed: bool) -> Commands:
    return [
        *lease(NETDEV, armed=armed),
        NETDEV.set("leaving", timeout=True),
        NETDEV.verdicts("buckets", size=buckets),
        NETDEV.set("load", size=buckets, counter=True),
        *NETDEV.add("load", range(buckets)),
    ]


# What is taken.


def _answers(nics: Sequence[Nic], mode: Mode, macs: Mapping[str, str]) -> Commands:
    """Turn questions for a VIP into their answers, and send them back out of the interface."""
    arp, neighbour = [], []
    for nic in nics:
        listen, send = nic.listen_mac(mode), send_mac(nic, mode, macs)
        arp += [_arp_answer(vip, listen, send) for vip in vips(nic, V4)]
        for vip in nic.v6:
            neighbour += list(ndp.advertisements(vip, listen, send))
    return [
        *(NETDEV.chain("answer", *arp, [DROP]) if arp else []),
        *(NETDEV.chain("advertise", *neighbour, [DROP]) if neighbour else []),
    ]


def _arp_answer(vip: str, listen: str, send: str) -> list[Stmt]:
    return [
        match(payload("arp", "daddr ip"), vip),
        assign(payload("ether", "daddr"), payload("arp", "saddr ether")),
        assign(payload("ether", "saddr"), send),
        assign(payload("arp", "operation"), "reply"),
        assign(payload("arp", "daddr ether"), payload("arp", "saddr ether")),
        assign(payload("arp", "daddr ip"), payload("arp", "saddr ip")),
        assign(payload("arp", "saddr ether"), listen),
        assign(payload("arp", "saddr ip"), vip),
        fwd(IIF),
    ]


def _takes(
    services: Sequence[Service], nics: Sequence[Nic], mode: Mode, macs: Mapping[str, str]
) -> Commands:
    """Only what is in this host's buckets gets here."""
    served = versions(nics)
    alone = len(nics) == 1
    to_us = [_to_us(nic, mode, macs, alone=alone) for nic in nics]
    # Nearly all; by position, so that nobody asks again whether this is Ethernet.
    listened = [
        [*_here(nic, alone), match(raw("ll", 0, 48), as_number(nic.listen_mac(mode))), goto("held")]
        for nic in nics
    ]
    questions = [match(PROTOCOL, "arp")] if V4 in served else []
    if V6 in served:
        questions.append(match(payload("icmpv6", "type"), "nd-neighbor-solicit"))
    answers = {"answer": V4, "advertise": V6}
    ways = [chain for chain, version in answers.items() if version in served]
    asked = [[question, goto(way)] for question, way in zip(questions, ways, strict=True)]
    taken = [match(MARK, "@load"), assign(PKTTYPE, "host")]
    return [
        *NETDEV.chain("ours", *asked, [*taken, assign(MARK, 0), ACCEPT], [DROP]),
        *NETDEV.chain("held", *leased(IIFTYPE, goto("ours")), [DROP]),
        *NETDEV.chain("take", *listened, *to_us, [goto("held")]),
        *_moves(services, served, questions, to_us, taken),
    ]


def _moves(
    services: Sequence[Service],
    served: Sequence[Version],
    questions: Sequence[Stmt],
    to_us: Sequence[list[Stmt]],
    taken: Sequence[Stmt],
) -> Commands:
    """What is taken of a bucket on the move: by the new owner all but QUIC's connections, by the
    former one what may belong to a connection of his; the kernel ends both by itself."""
    quic = [match(payload("udp", "dport"), ports(one)) for one in services if one.quic]
    errors = [
        match(payload("icmp" if version is V4 else "icmpv6", "type"), one_of(version.errors))
        for version in served
    ]
    seen: Commands = []
    if quic:  # conntrack is to say which packets
        flag = assign(MARK, flagged(MOVING))
        seen = [
            *NETDEV.chain("seen", [*taken, flag, ACCEPT], [DROP]),
            *NETDEV.chain("move", *to_us, *leased(IIFTYPE, goto("seen")), [DROP]),
        ]
    return [
        *seen,
        *NETDEV.chain(
            "come",
            *([one, match(MARK, "@leaving"), goto("move")] for one in quic),
            [goto("take")],
        ),
        *NETDEV.chain(
            "leave",
            *([question, DROP] for question in questions),
            [match(MARK, "@leaving", "!="), DROP],
            # A first fragment of 8 bytes hides flags and chunks from what follows (RFC 1858, 3).
            *([match(_OFFSET[version.header], 1), DROP] for version in served),
            [UNRELATED, DROP],
            [match(L4PROTO, TCP), goto("take")],
            [exists({"sctp chunk": {"name": "init"}}), DROP],
            [match(L4PROTO, SCTP), goto("take")],
            *([error, goto("take")] for error in errors),
            *([one, goto("move")] for one in quic),
            [DROP],  # its other packets are the new owner's, or two would answer
        ),
    ]


def _fragments(nics: Sequence[Nic], mode: Mode, macs: Mapping[str, str]) -> Commands:
    """Whose a packet is may show only once it is whole: all hosts take it that far."""
    to_us = [_to_us(nic, mode, macs, alone=len(nics) == 1) for nic in nics]
    return [
        *NETDEV.chain("whole", [assign(MARK, FRAGMENT), assign(PKTTYPE, "host"), ACCEPT]),
        *NETDEV.chain("fragment", *to_us, *leased(IIFTYPE, goto("whole")), [DROP]),
    ]


def _to_us(nic: Nic, mode: Mode, macs: Mapping[str, str], *, alone: bool) -> list[Stmt]:
    worn = [] if mode is Mode.HUB else [macs[nic.interface]]
    groups = [ndp.group_mac(ndp.solicited_node(vip)) for vip in nic.v6]
    known = dict.fromkeys([nic.listen_mac(mode), *worn, BROADCAST, *groups])
    return [*_here(nic, alone), match(payload("ether", "daddr"), one_of(known), "!="), DROP]


def _here(nic: Nic, alone: bool) -> list[Stmt]:
    return [] if alone else [match(IIFNAME, nic.interface)]


# What is not yet decided.


def _rests(deal: _Deal, nics: Sequence[Nic]) -> Commands:
    served = versions(nics)
    made: Commands = []
    if V4 in served:
        made += NETDEV.chain("rest4", *_errors(deal, V4), deal.by_source(V4), [DROP])
        made += NETDEV.chain(
            "whohas",
            *([*tag, DROP] for tag in OTHER_VLAN),
            deal.by_bucket(payload("arp", "saddr ip")),
            [DROP],
        )
    if V6 in served:
        made += NETDEV.chain(
            "solicit",
            *([*tag, DROP] for tag in OTHER_VLAN),
            [match(payload("ip6", "hoplimit"), 255, "!="), DROP],  # from beyond the segment
            deal.by_source(V6, CLIENT),
            [DROP],
        )
        made += NETDEV.chain(
            "rest6",
            *_errors(deal, V6),
            [match(payload("icmpv6", "type"), "nd-neighbor-solicit"), goto("solicit")],
            # The answer to a question that was asked from the VIP: all may learn it. (With more
            # headers in front of it, all would complain of those.)
            [
                match(payload("ip6", "nexthdr"), ICMPV6),
                match(payload("ip6", "hoplimit"), 255),
                match(payload("icmpv6", "type"), "nd-neighbor-advert"),
                assign(PKTTYPE, "host"),
                ACCEPT,
            ],
            deal.by_source(V6),
            [DROP],
        )
    return made


def _errors(deal: _Deal, version: Version) -> Iterator[list[Stmt]]:
    """An error belongs to the client whose packet it returns, not to the router that sends it:
    path-MTU discovery must reach the host that holds the connection."""
    header = "icmp" if version is V4 else "icmpv6"
    error = match(payload(header, "type"), one_of(version.errors))
    for service in deal.special:
        number, kind = NUMBERS[service.protocol], affinity.hash_key(service)
        for inside, shape in affinity.shapes(version, number):
            yield [
                error,
                *inside,
                match(raw("th", shape.ports, 16), ports(service)),
                *deal.by_bucket(affinity.returned(kind, shape)),
            ]
    yield [error, *deal.by_bucket(affinity.returned(deal.kind, version))]


# Hooks.


def _ingress(deal: _Deal, nic: Nic, number: int, tagged: Collection[str], mode: Mode) -> Commands:
    served = versions([nic])
    rules: list[list[Stmt]] = []
    for version in served:
        if nic.interface in tagged:
            # It came by another interface. Where no VLAN stands on this one the stack drops it,
            # and no packet need be looked at for that.
            rules += [[to_vip(nic, version), *tag, ACCEPT] for tag in OTHER_VLAN]
        rules += _special(deal, nic, version)
        rules.append(
            [
                to_vip(nic, version),
                match(L4PROTO, version.icmp, "!="),
                *deal.by_source(version),
            ]
        )
    rules += [[*NESTED, DROP], *strays.counted(nic, number, mode)]
    if V4 in served:
        arp = match(payload("arp", "daddr ip"), one_of(vips(nic, V4)))
        # An announcement of the VIP is no question.
        other = match(payload("arp", "saddr ip"), one_of(vips(nic, V4)), "!=")
        rules += [
            [to_vip(nic, V4), goto("rest4")],
            [match(payload("arp", "operation"), "request"), arp, other, goto("whohas")],
            # The answer to a query sent from the VIP comes to the listen MAC; all may learn it.
            [match(payload("arp", "operation"), "reply"), arp, assign(PKTTYPE, "host")],
        ]
    if V6 in served:
        rules.append([to_vip(nic, V6), goto("rest6")])
        for vip in nic.v6:
            group = match(payload("ip6", "daddr"), str(ndp.solicited_node(vip)))
            rules.append([group, *ndp.about(vip), goto("solicit")])
    return NETDEV.chain(
        numbered("ingress", number), *rules, hook="ingress", dev=nic.interface, prio=_RAW
    )


def _special(deal: _Deal, nic: Nic, version: Version) -> Iterator[list[Stmt]]:
    """Services that are dealt by something else than the rest: their ports come first."""
    if not deal.special:
        return
    fragment = (
        match(both(payload("ip", "frag-off"), 0x3FFF), 0, "!=")
        if version is V4
        else match(payload("ip6", "nexthdr"), affinity.FRAGMENT_HEADER)
    )
    yield [to_vip(nic, version), fragment, goto("fragment")]
    if version is V6:
        # Behind other headers, of which all would complain to the sender if they took them all.
        late = exists({"exthdr": {"name": "frag"}})
        yield [to_vip(nic, version), late, *deal.by_source(version)]
    for service in deal.special:
        yield [
            to_vip(nic, version),
            match(payload(service.protocol, "dport"), ports(service)),
            *deal.by_source(version, affinity.hash_key(service)),
        ]


def numbered(hook: str, number: int) -> str:
    """Return the name of an interface's own chain."""
    return f"{hook}{number or ''}"
