"""A small vocabulary for libnftables' JSON (libnftables-json(5)).

Rule 1: nested dicts of expressions and statements are written here and nowhere else.
Rule 2: every name is nftables' own.
"""

import json
from collections.abc import Iterable
from typing import Any

Expr = dict[str, Any]
Stmt = dict[str, Any]
Command = dict[str, Any]
Commands = list[Command]

MARK: Expr = {"meta": {"key": "mark"}}
IIF: Expr = {"meta": {"key": "iif"}}
IIFNAME: Expr = {"meta": {"key": "iifname"}}
OIFNAME: Expr = {"meta": {"key": "oifname"}}
IIFTYPE: Expr = {"meta": {"key": "iiftype"}}
OIFTYPE: Expr = {"meta": {"key": "oiftype"}}
PROTOCOL: Expr = {"meta": {"key": "protocol"}}
L4PROTO: Expr = {"meta": {"key": "l4proto"}}
PKTTYPE: Expr = {"meta": {"key": "pkttype"}}
CT_STATE: Expr = {"ct": {"key": "state"}}

# IANA's protocol numbers: their names libnftables may have to look up in /etc/protocols, which
# minimal systems lack.
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

ACCEPT: Stmt = {"accept": None}
DROP: Stmt = {"drop": None}
NOTRACK: Stmt = {"notrack": None}
RESET: Stmt = {"reject": {"type": "tcp reset"}}


def payload(protocol: str, field: str) -> Expr:
    """Return a header field such as ip daddr; nft adds the protocol checks it implies."""
    return {"payload": {"protocol": protocol, "field": field}}


def raw(base: str, offset: int, length: int) -> Expr:
    """Return @base,offset,length in bits: no protocol check is implied."""
    return {"payload": {"base": base, "offset": offset, "len": length}}


def jhash(of: Expr, *, mod: int, seed: int) -> Expr:
    """Return jhash of an expression; without a seed nft would pick one per rule."""
    return {"jhash": {"mod": mod, "offset": 0, "seed": seed, "expr": of}}


def both(left: Expr, right: object) -> Expr:
    """Return left & right."""
    return {"&": [left, right]}


def concat(*parts: Expr) -> Expr:
    """Return parts side by side, each at a multiple of 32 bits."""
    return {"concat": list(parts)}


def exists(header: Expr, *, there: bool = True) -> Stmt:
    """Return the statement that ends the rule unless the packet has this header, or hasn't."""
    return match(header, there)


def one_of(values: Iterable[object]) -> object:
    """Return an anonymous set, or the value itself when there is only one."""
    several = list(values)
    return several[0] if len(several) == 1 else {"set": several}


def match(left: Expr, right: object, op: str = "==") -> Stmt:
    """Return the statement that ends the rule unless the comparison holds."""
    return {"match": {"op": op, "left": left, "right": right}}


def assign(key: Expr, value: object) -> Stmt:
    """Return `KEY set VALUE`: of a meta key or a header field."""
    return {"mangle": {"key": key, "value": value}}


def flagged(flag: int) -> Expr:
    """Return the packet's mark with a flag in it."""
    return {"|": [MARK, flag]}


def jump(chain: str) -> Stmt:
    """Return the verdict that comes back when the chain ends."""
    return {"jump": {"target": chain}}


def goto(chain: str) -> Stmt:
    """Return the verdict that does not come back."""
    return {"goto": {"target": chain}}


def vmap(key: Expr, name: str) -> Stmt:
    """Return a lookup in a named verdict map."""
    return {"vmap": {"key": key, "data": f"@{name}"}}


def fwd(device: Expr) -> Stmt:
    """Return the statement that sends the frame out of a device (netdev family)."""
    return {"fwd": {"dev": device}}


def reject(why: str) -> Stmt:
    """Return the statement that refuses a packet with an ICMP error, of either IP version."""
    return {"reject": {"type": "icmpx", "expr": why}}


def span(first: int, last: int) -> object:
    """Return a range for a set, or the value itself where it is one."""
    return first if first == last else {"range": [first, last]}


def update(name: str, *key: Expr) -> Stmt:
    """Return the statement that puts something of the packet into a set, or renews its time."""
    elem = concat(*key) if len(key) > 1 else key[0]
    return {"set": {"op": "update", "elem": elem, "set": f"@{name}"}}


def expiring(value: object, seconds: int) -> Expr:
    """Return a set element that the kernel removes by itself; whole seconds, at least one."""
    return {"elem": {"val": value, "timeout": seconds}}


def render(commands: Commands) -> str:
    """Return the JSON document that carries one transaction, a command a line."""
    lines = ",\n".join(json.dumps(command) for command in commands)
    return f'{{"nftables": [\n{lines}\n]}}\n'
