"""The inet table: what may leave from a VIP, and what is refused.

Rule 1: what is taken was decided at ingress. Here a packet of an open connection passes one rule.
Rule 2: a bucket on the move reaches two stacks, and each knows its own connections: what a stack
        says of a connection that it doesn't know, and what it sends again of a handshake that
        was half open when the bucket went, does not leave (docs/design.md, "Moving buckets").
Rule 3: what a host begins itself from a VIP has its answers where the bucket is: it may begin
        that there alone, and only what leaves by a segment is judged.
Rule 4: who asked by another interface is answered whatever his bucket: it is noted on its way in.
Rule 5: conntrack is asked for nothing but QUIC, whose packets don't say where a connection ends,
        and for putting fragments together where ports decide.
"""

from collections.abc import Iterator, Sequence

from vipnft.model import MAX_BUCKETS, Cluster, Mode, Nic, Protocol, Service
from vipnft.ruleset import affinity
from vipnft.ruleset.affinity import Version
from vipnft.ruleset.complaints import complaints, judged
from vipnft.ruleset.lease import lease, leased
from vipnft.ruleset.netdev import FRAGMENT, MOVING, OPENS, UNRELATED
from vipnft.ruleset.nftjson import (
    ACCEPT,
    CT_STATE,
    DROP,
    ICMP,
    ICMPV6,
    IIFNAME,
    L4PROTO,
    MARK,
    NOTRACK,
    OIFNAME,
    RESET,
    SCTP,
    TCP,
    UDP,
    Commands,
    Expr,
    Stmt,
    assign,
    both,
    concat,
    exists,
    goto,
    jump,
    match,
    one_of,
    payload,
    raw,
    reject,
    span,
    update,
)
from vipnft.ruleset.served import hashed, ports, to_vip, versions, vips
from vipnft.ruleset.tables import INET

_RAW, _MANGLE, _FILTER = -300, -150, 0
_CLEAR = assign(MARK, 0)
_PINGS = (ICMP, ICMPV6)
_FLAGS = payload("tcp", "flags")
_INIT = {"sctp chunk": {"name": "init"}}
_ABORT_FLAGS = {"sctp chunk": {"name": "abort", "field": "flags"}}
_FRAG_OFF: Expr = {"exthdr": {"name": "frag", "field": "frag-off"}}
_OUR_PORTS = 32768
"""Below this a port is a service's, at least where nobody says: what a host begins comes from
above (ip_local_port_range, ip-sysctl)."""
REMEMBERED = ("asked4", "asked6", "elsewhere4", "elsewhere6")
"""Sets that packets fill."""
_REMEMBERED_S, _REMEMBERED_MOST = 70, 65536  # a handshake's time; entries of some 100 bytes
# A packet that opens a QUIC connection, by its first four bits and its version: RFC 9000, 17.2.2;
# RFC 9369, 3.2. Every other one belongs to one.
_QUIC_INITIAL = (
    [match(raw("th", 64, 4), 0b1100)],
    [match(raw("th", 64, 4), 0b1101), match(raw("th", 72, 32), 0x6B3343CF)],
)


def inet(cluster: Cluster, nics: Sequence[Nic], mode: Mode, *, armed: bool) -> Commands:
    """Return the inet table's commands, without buckets."""
    _, special = affinity.dealt(cluster.services)
    quic = [service for service in cluster.services if service.quic]
    seen = (MOVING if quic else 0) | (FRAGMENT if special else 0)
    return [
        *lease(INET, armed=armed),  # once more: one nft table can't ask another's
        INET.set("joined", timeout=True),
        INET.set("drains", timeout=True),
        INET.set("given", timeout=True),
        INET.set("mine", size=cluster.buckets),
        *_memory(cluster.services, nics),
        *(_quic() if quic else []),
        *(_reassembled(cluster, nics, special) if special else []),
        *(_here(nics, seen, quic=bool(quic)) if seen else []),
        *_elsewhere(nics),
        *_services(cluster.services, nics),
        *_outward(cluster, nics),
        *(_no_forwarding(nics) if mode is Mode.HUB else []),
    ]


def _hook(hook: str, priority: int, rules: Iterator[list[Stmt]], name: str = "") -> Commands:
    return INET.chain(name or hook, *rules, hook=hook, prio=priority)


def _from_clients(nics: Sequence[Nic], *then: Stmt) -> Iterator[list[Stmt]]:
    for nic in nics:
        for version in versions([nic]):
            yield [match(IIFNAME, nic.interface), to_vip(nic, version), *then]


def _every(nics: Sequence[Nic], version: Version, field: str) -> Stmt:
    """Return the match of a packet to, or from, any VIP."""
    every = one_of(vip for nic in nics for vip in vips(nic, version))
    return match(payload(version.header, field), every)


def _to_clients(nics: Sequence[Nic], *then: Stmt) -> Iterator[list[Stmt]]:
    for version in versions(nics):
        yield [_every(nics, version, "saddr"), *then]


def _served(services: Sequence[Service], field: str = "dport") -> Iterator[Stmt]:
    for service in services:
        yield match(payload(service.protocol, field), ports(service))


# What packets are remembered by: a flow's two ends, as its answers or its questions have them.


def _memory(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    names = ["elsewhere", *(["asked"] if services else [])]
    return [
        INET.remembered(
            f"{name}{_number(version)}",
            (kind := f"ipv{_number(version)}_addr", "inet_service", kind, "inet_service"),
            seconds=_REMEMBERED_S,
            size=_REMEMBERED_MOST,
        )
        for name in names
        for version in versions(nics)
    ]


def _number(version: Version) -> int:
    return 4 if version.header == "ip" else 6


def _ends(version: Version, *, turned: bool = False) -> list[Expr]:
    """Return a packet's ends, of an answer `turned` to be those of its question."""
    ends = [
        (payload(version.header, "saddr"), payload("th", "sport")),
        (payload(version.header, "daddr"), payload("th", "dport")),
    ]
    return [part for end in (reversed(ends) if turned else ends) for part in end]


def _answers_to(name: str, nics: Sequence[Nic]) -> Iterator[list[Stmt]]:
    """Yield the matches of answers to what a set remembers."""
    for version in versions(nics):
        yield [match(concat(*_ends(version, turned=True)), f"@{name}{_number(version)}")]


def _elsewhere(nics: Sequence[Nic]) -> Commands:
    """Note who asks a VIP by an interface that is on no segment."""
    rules: list[list[Stmt]] = [[match(IIFNAME, nic.interface), ACCEPT] for nic in nics]
    rules.append([match(IIFNAME, "lo"), ACCEPT])
    for version in versions(nics):
        to_us = _every(nics, version, "daddr")
        note = update(f"elsewhere{_number(version)}", *_ends(version))
        rules += [[to_us, OPENS, note], [to_us, match(L4PROTO, UDP), note]]
    return _hook("prerouting", _RAW, iter(rules), "elsewhere")


# Buckets on the move.


def _here(nics: Sequence[Nic], flags: int, *, quic: bool) -> Commands:
    """What ingress has marked is looked at again, behind conntrack."""
    flagged = match(both(MARK, flags), 0, "!=")
    bucket = assign(MARK, both(MARK, MAX_BUCKETS - 1))
    moving = [
        [bucket],
        [match(MARK, "@drains"), _CLEAR, goto("draining")],
        [match(MARK, "@joined"), _CLEAR, goto("joining")],
    ]
    return [
        *INET.chain(
            "here",
            *([[match(MARK, FRAGMENT), goto("reassembled")]] if flags & FRAGMENT else []),
            *(moving if quic else []),
            [_CLEAR],
        ),
        *_hook(
            "prerouting",
            _MANGLE,
            ([flagged, *rule] for rule in _from_clients(nics, goto("here"))),
        ),
    ]


def _quic() -> Commands:
    """A QUIC packet within a connection is its former owner's, an Initial the new one's."""
    established = match(CT_STATE, "established", "in")
    initials = [[*initial] for initial in _QUIC_INITIAL]
    return [
        *INET.chain("draining", *([*i, DROP] for i in initials), [established, ACCEPT], [DROP]),
        *INET.chain("joining", *([*i, ACCEPT] for i in initials), [established, ACCEPT], [DROP]),
    ]


def _reassembled(cluster: Cluster, nics: Sequence[Nic], special: Sequence[Service]) -> Commands:
    """What came in fragments, taken by all hosts: now its ports tell whose it is.

    conntrack puts fragments together before these rules; that it is there at all takes one
    `ct` expression, and nothing else of it is wanted: what is not QUIC is not tracked.
    """
    default, _ = affinity.dealt(cluster.services)
    rules: list[list[Stmt]] = []
    for version in versions(nics):
        for service in special:
            mark = hashed(cluster, affinity.source(affinity.hash_key(service), version))
            rules.append([*_served([service]), mark, goto("if-mine")])
        rules.append([hashed(cluster, affinity.source(default, version)), goto("if-mine")])
    return [
        *INET.chain(
            "if-mine",
            [match(MARK, "@mine"), _CLEAR, ACCEPT],
            [match(MARK, "@drains", "!="), DROP],
            # As at ingress: what may belong to a connection of the former owner's.
            [_CLEAR],
            [UNRELATED, DROP],
            [match(L4PROTO, TCP), ACCEPT],
            [match(L4PROTO, SCTP), exists(_INIT, there=False), ACCEPT],
            [DROP],
        ),
        *INET.chain("reassembled", [match(CT_STATE, "invalid", "in"), DROP], *rules),
        *_untracked(cluster.services, nics),
    ]


def _untracked(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    """Keep all of the VIPs' traffic but QUIC out of conntrack, both ways."""
    quic = [service for service in services if service.quic]
    spare = [[one, ACCEPT] for one in _served(quic)]
    spare_out = [[one, ACCEPT] for one in _served(quic, "sport")]
    coming = _from_clients(nics, NOTRACK)
    return [
        *_hook("prerouting", _RAW, iter([*spare, *coming]), "untracked-in"),
        *_hook("output", _RAW, iter([*spare_out, *_to_clients(nics, NOTRACK)]), "untracked-out"),
    ]


# What is refused.


def _services(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    """Refuse what is not served, as a host without a listener would."""
    if not services:
        return []
    return [
        *INET.chain(
            "services",
            # Within a connection, perhaps this host's own: the stack knows.
            [match(both(_FLAGS, ["fin", "syn", "rst", "ack"]), "syn", "!="), ACCEPT],
            [match(L4PROTO, one_of(_PINGS)), ACCEPT],
            *([served, ACCEPT] for served in _served(services)),
            *([match(L4PROTO, UDP), *answer, ACCEPT] for answer in _answers_to("asked", nics)),
            [match(L4PROTO, SCTP), exists(_INIT, there=False), ACCEPT],
            # IPv6 puts fragments together behind this hook: the first one was looked at.
            *([[match(_FRAG_OFF, 0, "!="), ACCEPT]] if any(nic.v6 for nic in nics) else []),
            [match(L4PROTO, TCP), RESET],
            [reject("port-unreachable")],
        ),
        *_hook("input", _FILTER, _from_clients(nics, goto("services"))),
    ]


# What leaves.


def _outward(cluster: Cluster, nics: Sequence[Nic]) -> Commands:
    """What leaves from a VIP; rules 2 and 3."""
    _, special = affinity.dealt(cluster.services)
    beyond = match(OIFNAME, one_of(nic.interface for nic in nics), "!=")
    # All hosts put fragments together where ports decide; none may complain that one is missing.
    unfinished = [
        [match(payload(h, "type"), "time-exceeded"), match(payload(h, "code"), 1), DROP]
        for h in _pings(nics)
        if special
    ]
    return [
        *INET.chain("whose", *_whose(cluster, nics)),
        *_judged(cluster.services, nics),
        *complaints(cluster, nics, beyond),
        *INET.chain("datagram", *_asked(cluster.services, nics), [beyond, ACCEPT], [goto("begun")]),
        *INET.chain(
            "outgoing",
            [match(both(_FLAGS, ["syn", "rst"]), 0), ACCEPT],  # within a connection
            [match(OIFNAME, "lo"), ACCEPT],
            [match(L4PROTO, UDP), goto("datagram")],
            *unfinished,
            [match(both(_FLAGS, ["syn", "ack"]), ["syn", "ack"]), goto("half-open")],
            [match(both(_FLAGS, ["rst", "ack"]), "rst"), goto("unknown")],
            [match(both(_FLAGS, "rst"), "rst"), ACCEPT],
            [match(both(_ABORT_FLAGS, 1), 1), goto("unknown")],  # RFC 9260, 8.4: of nobody's
            [match(L4PROTO, SCTP), exists(_INIT, there=False), ACCEPT],
            *judged(nics),
            *([match(payload(h, "type"), "echo-request", "!="), ACCEPT] for h in _pings(nics)),
            [beyond, ACCEPT],
            [goto("begun")],
        ),
        *_hook("output", _FILTER, _to_clients(nics, goto("outgoing"))),
    ]


def _judged(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    """What leaves by its bucket: SYN|ACKs, a stack's word on what it doesn't know, and what a
    host begins."""
    known = [[*answer, _CLEAR, ACCEPT] for answer in _answers_to("elsewhere", nics)]
    late = _by_service(services)
    return [
        *INET.chain(
            "leased",
            [jump("whose")],
            [match(MARK, "@given", "!="), _CLEAR, ACCEPT],
            *known,
            [_CLEAR, DROP],
        ),
        *INET.chain("half-open", [_CLEAR], *leased(MARK, goto("leased")), *known, [DROP]),
        *INET.chain(
            "unknown",
            [jump("whose")],
            [match(MARK, "@drains"), _CLEAR, DROP],
            [match(MARK, "@joined"), _CLEAR, DROP],
            [_CLEAR],
        ),
        *INET.chain(
            "begun",
            [jump("whose")],
            [match(MARK, "@mine"), _CLEAR, ACCEPT],
            # A late answer to what was asked before the bucket went.
            *([[late, match(MARK, "@given"), _CLEAR, ACCEPT]] if late else []),
            *([match(L4PROTO, UDP), *one] for one in known),
            [_CLEAR, reject("admin-prohibited")],
        ),
    ]


def _whose(cluster: Cluster, nics: Sequence[Nic]) -> Iterator[list[Stmt]]:
    """Yield the rules that mark what leaves with its bucket."""
    kind, special = affinity.dealt(cluster.services)
    for version in versions(nics):
        yield [hashed(cluster, affinity.target(kind, version))]
    for service in special:
        sent = match(payload(service.protocol, "sport"), ports(service))
        for version in versions(nics):
            yield [
                sent,
                hashed(cluster, affinity.target(affinity.hash_key(service), version)),
            ]


def _by_service(services: Sequence[Service], op: str = "==") -> Stmt | None:
    """Return the match of what a service sends by UDP, or doesn't; None if none does."""
    sent = payload("udp", "sport")
    if not services:
        return match(sent, _OUR_PORTS, "<" if op == "==" else ">=")
    every = [span(*pair) for s in services if s.protocol is Protocol.UDP for pair in s.ports]
    return match(sent, one_of(every), op) if every else None


def _asked(services: Sequence[Service], nics: Sequence[Nic]) -> Iterator[list[Stmt]]:
    """Remember what this host asks by UDP: its answers are no questions to a port not served."""
    if not services:
        return
    own = _by_service(services, "!=") or match(L4PROTO, UDP)
    for version in versions(nics):
        of_vip = _every(nics, version, "saddr")
        yield [own, of_vip, update(f"asked{_number(version)}", *_ends(version))]


def _pings(nics: Sequence[Nic]) -> list[str]:
    return ["icmp" if _number(version) == 4 else "icmpv6" for version in versions(nics)]


def _no_forwarding(nics: Sequence[Nic]) -> Commands:
    """In hub mode frames for other hosts arrive; to forward one would send it to all again."""
    names = one_of(nic.interface for nic in nics)
    return INET.chain("forward", [match(IIFNAME, names), DROP], hook="forward", prio=_FILTER)
