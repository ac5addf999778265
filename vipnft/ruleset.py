# What one host loads into the kernel: three nft tables, always in one transaction.
# Rule 1: nothing stands before the bucket lookup that "not mine" does not need: of N hosts
#         each drops (N-1)/N of all packets there, before conntrack and the IP stack.
# Rule 2: what is not decided is dropped; the policy is accept, since a netdev policy
#         takes effect before the transaction commits.
# Rule 3: the stack itself never answers ARP for a VIP. The rules do, so that a host whose
#         rules are gone says nothing at all.
# Rule 4: `meta mark` is scratch: back to 0 before a packet is accepted.
# Rule 5: never `iif` or an index in a rule: a re-created interface has another.
"""Cluster, host, mode and owners to libnftables commands."""

from collections.abc import Sequence

from vipnft import elements
from vipnft.expr import (
    ACCEPT,
    CT_STATE,
    DROP,
    IIF,
    IIFNAME,
    L4PROTO,
    MARK,
    PKTTYPE,
    PROTOCOL,
    Commands,
    Expr,
    Stmt,
    assign,
    both,
    fwd,
    goto,
    jhash,
    match,
    one_of,
    payload,
    raw,
    vmap,
)
from vipnft.model import Cluster, Host, Mode
from vipnft.moving import Phase
from vipnft.tables import ARP, INET, NETDEV, TABLES

BROADCAST = "ff:ff:ff:ff:ff:ff"
STAND_IN_MAC = "02:00:00:00:00:00"
"""Shown where a ruleset is printed for an interface that is not on this machine."""
LEASE_SLOTS = (0, 1)
"""The lease's two slots; without an agent slot 0 is armed for good and granted."""

# Raw offsets, in bits: they imply no protocol checks, and these chains need none.
_IP_PROTOCOL = raw("nh", 72, 8)
_IP_SADDR = raw("nh", 96, 32)
_INNER_DADDR = raw("th", 64 + 128, 32)  # ICMP header, then the returned IP header's daddr
_ICMP_ERRORS = ["destination-unreachable", "time-exceeded", "parameter-problem"]

# libnftables prints priorities by name where it has one: mangle is -150.
_RAW, _MANGLE, _FILTER = -300, -150, 0


def whole(
    cluster: Cluster,
    host: Host,
    mode: Mode,
    mac: str,
    phases: Sequence[Phase],
    *,
    granted: bool,
    leased: bool = False,
) -> Commands:
    """Return the one transaction that puts all three nft tables in place, whatever was there.

    `phases` says what the host does with each bucket; `mac` is the interface's own MAC;
    `granted` False loads rules that take nothing yet; `leased` ones that take nothing until an
    agent arms and grants a slot.
    """
    send = host.send_mac or mac if mode is Mode.SWITCH else cluster.listen_mac
    return [
        *NETDEV.fresh(),
        *_sets(cluster.buckets),
        *_ingress(cluster, host, mode, mac, send),
        *(_egress(cluster, host, send) if mode is Mode.SWITCH else []),
        *([] if leased else NETDEV.add("armed", [LEASE_SLOTS[0]])),
        *(grant() if granted and not leased else []),
        *ARP.fresh(),
        *_arp(cluster),
        *INET.fresh(),
        *_inet(cluster, host),
        *(_no_forwarding(host) if mode is Mode.HUB else []),
        *elements.fill(phases),
    ]


def grant() -> Commands:
    """Return the command by which a host begins to answer: lease slot 0 is granted."""
    return NETDEV.add("granted", [LEASE_SLOTS[0]])


def revoke() -> Commands:
    """Return the command by which a host falls silent at once."""
    return NETDEV.delete("granted", [LEASE_SLOTS[0]])


def nothing() -> Commands:
    """Return the transaction that removes all three nft tables, there or not."""
    return [command for table in TABLES for command in table.remove()]


def _hashed(of: Expr, cluster: Cluster) -> Stmt:
    return assign(MARK, jhash(of, mod=cluster.buckets, seed=cluster.seed))


def _by_bucket(of: Expr, cluster: Cluster) -> list[Stmt]:
    return [_hashed(of, cluster), vmap(MARK, "buckets")]


def _vips(cluster: Cluster) -> object:
    return one_of(str(vip) for vip in cluster.vips)


def _arp_for(cluster: Cluster, operation: str) -> list[Stmt]:
    return [
        match(payload("arp", "operation"), operation),
        match(payload("arp", "daddr ip"), _vips(cluster)),
    ]


def _from_vip(cluster: Cluster, protocol: str, field: str) -> Stmt:
    return match(payload(protocol, field), _vips(cluster))


def _sets(buckets: int) -> Commands:
    return [
        NETDEV.set("armed", timeout=True),
        NETDEV.set("granted"),
        NETDEV.set("leaving", timeout=True),
        NETDEV.verdicts("buckets", size=buckets, counter=True),
    ]


def _ingress(cluster: Cluster, host: Host, mode: Mode, mac: str, send: str) -> Commands:
    worn = [mac] if mode is Mode.SWITCH else []
    to_us = [cluster.listen_mac, *worn, BROADCAST]
    return [
        *NETDEV.chain("answer", *(_arp_answer(str(vip), cluster, send) for vip in cluster.vips)),
        *NETDEV.chain(
            "ours",
            [match(PROTOCOL, "arp"), goto("answer")],
            [assign(MARK, 0), assign(PKTTYPE, "host"), ACCEPT],
        ),
        *NETDEV.chain(
            "take",
            [match(payload("ether", "daddr"), one_of(to_us), "!="), DROP],
            *(
                [assign(MARK, slot), match(MARK, "@armed"), match(MARK, "@granted"), goto("ours")]
                for slot in LEASE_SLOTS
            ),
            [DROP],
        ),
        # Given away and draining: the new owner answers ARP; the kernel ends it by itself.
        *NETDEV.chain(
            "leave",
            [match(PROTOCOL, "arp"), DROP],
            [match(MARK, "@leaving", "!="), DROP],
            [goto("take")],
        ),
        *NETDEV.chain(
            "icmp4",
            # An error belongs to the client whose packet it returns, not to the router that
            # sends it: path-MTU discovery must reach the host that holds the connection.
            [
                match(payload("icmp", "type"), one_of(_ICMP_ERRORS)),
                *_by_bucket(_INNER_DADDR, cluster),
            ],
            _by_bucket(_IP_SADDR, cluster),
            [DROP],
        ),
        *NETDEV.chain(
            "vip4",
            [match(_IP_PROTOCOL, 1), goto("icmp4")],
            _by_bucket(_IP_SADDR, cluster),
            [DROP],
        ),
        *NETDEV.chain(
            "whohas",
            # The NIC took the tag off: this was asked in a VLAN that the interface is not in.
            [match(payload("vlan", "id"), 0, "!="), DROP],
            _by_bucket(payload("arp", "saddr ip"), cluster),
            [DROP],
        ),
        *NETDEV.chain(
            "ingress",
            [match(payload("ip", "daddr"), _vips(cluster)), goto("vip4")],
            [*_arp_for(cluster, "request"), goto("whohas")],
            # The answer to a query sent from the VIP comes to the listen MAC; all may learn it.
            [*_arp_for(cluster, "reply"), assign(PKTTYPE, "host")],
            hook="ingress",
            dev=host.interface,
            prio=_RAW,
        ),
    ]


def _arp_answer(vip: str, cluster: Cluster, send: str) -> list[Stmt]:
    """Turn a request into its reply and send it back out of the interface it came by."""
    return [
        match(payload("arp", "daddr ip"), vip),
        assign(payload("ether", "daddr"), payload("arp", "saddr ether")),
        assign(payload("ether", "saddr"), send),
        assign(payload("arp", "operation"), "reply"),
        assign(payload("arp", "daddr ether"), payload("arp", "saddr ether")),
        assign(payload("arp", "daddr ip"), payload("arp", "saddr ip")),
        assign(payload("arp", "saddr ether"), cluster.listen_mac),
        assign(payload("arp", "saddr ip"), vip),
        fwd(IIF),
    ]


def _egress(cluster: Cluster, host: Host, send: str) -> Commands:
    """No frame leaves with the listen MAC as its source, so no switch ever learns it."""
    out = assign(payload("ether", "saddr"), send)
    own = [
        [_from_vip(cluster, "ip", "saddr"), out],
        [_from_vip(cluster, "arp", "saddr ip"), out],
    ]
    return NETDEV.chain(
        "egress",
        [match(payload("ether", "saddr"), cluster.listen_mac), out],
        *(own if host.send_mac else []),
        hook="egress",
        dev=host.interface,
        prio=_FILTER,
    )


def _arp(cluster: Cluster) -> Commands:
    return [
        *ARP.chain(
            "input",
            # Ours were answered at ingress; one that gets here came by another interface.
            [*_arp_for(cluster, "request"), DROP],
            hook="input",
            prio=_FILTER,
        ),
        *ARP.chain(
            "output",
            # A query from the VIP must not teach the router this host's own MAC.
            [
                _from_vip(cluster, "arp", "saddr ip"),
                assign(payload("arp", "saddr ether"), cluster.listen_mac),
            ],
            hook="output",
            prio=_FILTER,
        ),
    ]


def _inet(cluster: Cluster, host: Host) -> Commands:
    """Buckets on the move; empty at rest, and there so that conntrack knows every connection."""
    here = [match(IIFNAME, host.interface), match(payload("ip", "daddr"), _vips(cluster))]
    clear = assign(MARK, 0)
    known = [match(CT_STATE, ["established", "related"], "in"), ACCEPT]
    opening = match(both(payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]), "syn")
    return [
        INET.set("joined", timeout=True),
        INET.verdicts("moving"),
        *INET.chain(
            "draining",
            # Connections only: a bucket's UDP and pings move at once, or two would answer.
            [clear, match(L4PROTO, one_of(["tcp", "icmp"]), "!="), DROP],
            [match(L4PROTO, "tcp"), match(CT_STATE, "established", "in"), ACCEPT],
            [match(L4PROTO, "icmp"), match(CT_STATE, "related", "in"), ACCEPT],
            [DROP],
        ),
        *INET.chain(
            "joining",
            [match(MARK, "@joined", "!="), clear, ACCEPT],
            [clear, *known],
            [opening, ACCEPT],
            # The former owner's connections: silence, for a reset would end them.
            [match(L4PROTO, "tcp"), DROP],
            [ACCEPT],
        ),
        *INET.chain(
            "prerouting",
            [*here, _hashed(payload("ip", "saddr"), cluster), vmap(MARK, "moving")],
            [*here, clear],
            hook="prerouting",
            prio=_MANGLE,
        ),
    ]


def _no_forwarding(host: Host) -> Commands:
    """In hub mode frames for other hosts arrive; to forward one would send it to all again."""
    return INET.chain(
        "forward", [match(IIFNAME, host.interface), DROP], hook="forward", prio=_FILTER
    )
