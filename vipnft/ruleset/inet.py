"""The inet table: what happens to packets of this host's buckets behind conntrack.

Rule 1: it has a say in packets to VIPs that came in by their interface, and in those that this
        host sends from a VIP on its own account; in no others.
Rule 2: at rest no packet gets beyond a look at its mark; the rules are there so that conntrack
        knows every connection.
"""

from collections.abc import Iterator, Sequence

from vipnft.model import MAX_BUCKETS, Cluster, Mode, Nic, Service
from vipnft.ruleset import affinity
from vipnft.ruleset.netdev import FRAGMENT, MOVING, ports, to_vip, versions, vips
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
    Commands,
    Expr,
    Stmt,
    assign,
    both,
    exists,
    goto,
    jhash,
    jump,
    match,
    one_of,
    payload,
    raw,
    reject,
    vmap,
)
from vipnft.ruleset.tables import INET

_RAW, _MANGLE, _FILTER = -300, -150, 0
_CLEAR = assign(MARK, 0)
_PINGS = (ICMP, ICMPV6)
_CONNECTIONS = (TCP, SCTP)
_OUT = match(OIFNAME, "lo", "!=")
_HANDSHAKE = ["fin", "syn", "rst", "ack"]
# A packet that opens a QUIC connection, by its first four bits and its version: RFC 9000, 17.2.2;
# RFC 9369, 3.2. Every other one belongs to one.
_QUIC_INITIAL = (
    [match(raw("th", 64, 4), 0b1100)],
    [match(raw("th", 64, 4), 0b1101), match(raw("th", 72, 32), 0x6B3343CF)],
)


def inet(cluster: Cluster, nics: Sequence[Nic], mode: Mode) -> Commands:
    """Return the inet table's commands, without buckets."""
    _, special = affinity.dealt(cluster.services)
    return [
        INET.set("joined", timeout=True),
        INET.set("drains", timeout=True),
        INET.verdicts("moving"),
        INET.set("mine", size=cluster.buckets),
        *_moving(cluster.services),
        *(_reassembled(cluster, nics, special) if special else []),
        *INET.chain(
            "here",
            *([[match(MARK, FRAGMENT), jump("reassembled")]] if special else []),
            [assign(MARK, both(MARK, MAX_BUCKETS - 1)), vmap(MARK, "moving")],
            [_CLEAR],
        ),
        *_hook("prerouting", _MANGLE, _looked_at(nics, MOVING | FRAGMENT if special else MOVING)),
        *_untracked(cluster.services, nics),
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


def _looked_at(nics: Sequence[Nic], flags: int) -> Iterator[list[Stmt]]:
    flagged = match(both(MARK, flags), 0, "!=")
    yield from ([flagged, *rule] for rule in _from_clients(nics, goto("here")))


def _to_clients(nics: Sequence[Nic], *then: Stmt) -> Iterator[list[Stmt]]:
    for version in versions(nics):
        every = one_of(vip for nic in nics for vip in vips(nic, version))
        yield [match(payload(version.header, "saddr"), every), *then]


def _served(services: Sequence[Service]) -> Iterator[Stmt]:
    for service in services:
        yield match(payload(service.protocol, "dport"), ports(service))


def _moving(services: Sequence[Service]) -> Commands:
    quic = list(_served([service for service in services if service.quic]))
    established = match(CT_STATE, "established", "in")
    opening = [match(both(payload("tcp", "flags"), _HANDSHAKE), "syn")]
    init = [exists({"sctp chunk": {"name": "init"}})]
    # A handshake that was on its way when the bucket moved begins anew at the new owner, with
    # what its client sends again: it is established here, and half of it is not there.
    return [
        *INET.chain(
            "draining",
            [_CLEAR, *opening, DROP],
            [*init, DROP],
            # Connections only: a bucket's other UDP and pings move at once, or two would answer.
            [match(L4PROTO, one_of(_CONNECTIONS)), established, ACCEPT],
            *([service, *initial, DROP] for service in quic for initial in _QUIC_INITIAL),
            *([service, established, ACCEPT] for service in quic),
            [match(L4PROTO, one_of(_PINGS)), match(CT_STATE, "related", "in"), ACCEPT],
            [DROP],
        ),
        *INET.chain(
            "joining",
            [match(MARK, "@joined", "!="), _CLEAR, ACCEPT],
            [_CLEAR, match(CT_STATE, ["established", "related"], "in"), ACCEPT],
            [*opening, ACCEPT],
            [*init, ACCEPT],
            # The former owner's connections: silence, for a reset would end them.
            [match(L4PROTO, one_of(_CONNECTIONS)), DROP],
            *([service, *initial, ACCEPT] for service in quic for initial in _QUIC_INITIAL),
            *([service, DROP] for service in quic),
            [ACCEPT],
        ),
    ]


def _reassembled(cluster: Cluster, nics: Sequence[Nic], special: Sequence[Service]) -> Commands:
    """What came in fragments, taken by all hosts: now its ports tell whose it is."""
    default, _ = affinity.dealt(cluster.services)
    rules: list[list[Stmt]] = []
    for version in versions(nics):
        for service in special:
            kind = affinity.hash_key(service)
            hashed = _hashed(cluster, affinity.source(kind, version))
            rules.append([*_served([service]), hashed, goto("if-mine")])
        rules.append([_hashed(cluster, affinity.source(default, version)), goto("if-mine")])
    return [
        *INET.chain("if-mine", [match(MARK, "@mine", "!="), match(MARK, "@drains", "!="), DROP]),
        *INET.chain("reassembled", *rules),
    ]


def _hashed(cluster: Cluster, of: Expr) -> Stmt:
    return assign(MARK, jhash(of, mod=cluster.buckets, seed=cluster.seed))


def _untracked(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    """Keep services without connections out of conntrack, both ways."""
    chosen = [service for service in services if not service.track]
    if not chosen:
        return []
    coming = [[*rule, seen, NOTRACK] for rule in _from_clients(nics) for seen in _served(chosen)]
    going = [
        [_OUT, *rule, match(payload(service.protocol, "sport"), ports(service)), NOTRACK]
        for rule in _to_clients(nics)
        for service in chosen
    ]
    return [
        *_hook("prerouting", _RAW, iter(coming), "untracked-in"),
        *_hook("output", _RAW, iter(going), "untracked-out"),
    ]


def _services(services: Sequence[Service], nics: Sequence[Nic]) -> Commands:
    """Refuse what is not served, as a host without a listener would."""
    if not services:
        return []
    return [
        *INET.chain(
            "services",
            [match(CT_STATE, ["established", "related"], "in"), ACCEPT],
            [match(L4PROTO, one_of(_PINGS)), ACCEPT],
            *([served, ACCEPT] for served in _served(services)),
            [match(L4PROTO, TCP), RESET],
            [reject("port-unreachable")],
        ),
        *_hook("input", _FILTER, _from_clients(nics, goto("services"))),
    ]


def _outward(cluster: Cluster, nics: Sequence[Nic]) -> Commands:
    """What leaves from a VIP, by whatever interface, is answered to the bucket's owner."""
    kind, special = affinity.dealt(cluster.services)
    served = versions(nics)
    whose = [[_hashed(cluster, affinity.target(kind, version))] for version in served]
    whose += [
        [
            match(payload(service.protocol, "sport"), ports(service)),
            _hashed(cluster, affinity.target(affinity.hash_key(service), version)),
        ]
        for service in special
        for version in served
    ]
    mine = [[jump("whose")], [match(MARK, "@mine"), _CLEAR, ACCEPT]]
    accepted = match(both(payload("tcp", "flags"), _HANDSHAKE), ["syn", "ack"])
    # All hosts put fragments together where ports decide; none may complain that one is missing.
    unfinished = [
        [
            match(payload(header, "type"), "time-exceeded"),
            match(payload(header, "code"), 1),
            _OUT,
            DROP,
        ]
        for header in ("icmp", "icmpv6")
        if special
    ]
    return [
        *INET.chain("whose", *whose),
        *INET.chain("outward", *mine, [_CLEAR, reject("admin-prohibited")]),
        *INET.chain("handshake", *mine, [_CLEAR, DROP]),
        *INET.chain(
            "outgoing",
            *unfinished,
            [match(CT_STATE, "new", "in"), _OUT, goto("outward")],
            # Of a bucket that was given away meanwhile: its client is to begin anew.
            [accepted, _OUT, goto("handshake")],
        ),
        *_hook("output", _FILTER, _to_clients(nics, goto("outgoing"))),
    ]


def _no_forwarding(nics: Sequence[Nic]) -> Commands:
    """In hub mode frames for other hosts arrive; to forward one would send it to all again."""
    names = one_of(nic.interface for nic in nics)
    return INET.chain("forward", [match(IIFNAME, names), DROP], hook="forward", prio=_FILTER)
