# A small vocabulary for libnftables' JSON (libnftables-json(5)).
# Rule 1: nested dicts of expressions and statements are written here and nowhere else.
# Rule 2: every name is nftables' own.
"""Expressions, statements and commands of libnftables JSON, as plain values."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
PROTOCOL: Expr = {"meta": {"key": "protocol"}}
L4PROTO: Expr = {"meta": {"key": "l4proto"}}
PKTTYPE: Expr = {"meta": {"key": "pkttype"}}
CT_STATE: Expr = {"ct": {"key": "state"}}

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


def exists(header: Expr) -> Stmt:
    """Return the statement that ends the rule unless the packet has this header."""
    return match(header, True)


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


def expiring(value: object, seconds: int) -> Expr:
    """Return a set element that the kernel removes by itself; whole seconds, at least one."""
    return {"elem": {"val": value, "timeout": seconds}}


def render(commands: Commands) -> str:
    """Return the JSON document that carries one transaction, a command a line."""
    lines = ",\n".join(json.dumps(command) for command in commands)
    return f'{{"nftables": [\n{lines}\n]}}\n'


@dataclass(frozen=True, slots=True)
class Table:
    """One nft table; its methods return commands."""

    family: str
    name: str

    @property
    def _at(self) -> dict[str, Any]:
        return {"family": self.family, "table": self.name}

    @property
    def _self(self) -> dict[str, Any]:
        return {"table": {"family": self.family, "name": self.name}}

    def remove(self) -> Commands:
        """Delete the nft table whether or not it is there (nft 1.0.6 has no destroy)."""
        return [{"add": self._self}, {"delete": self._self}]

    def fresh(self) -> Commands:
        """Make the nft table anew, empty, within the same transaction."""
        return [*self.remove(), {"add": self._self}]

    def set(
        self,
        name: str,
        *,
        of: str = "mark",
        timeout: bool = False,
        size: int | None = None,
        counter: bool = False,
    ) -> Command:
        """Add a set of marks or of another type; with a size the kernel takes its fast hash."""
        body: dict[str, Any] = {**self._at, "name": name, "type": of}
        if timeout:
            body["flags"] = ["timeout"]
        if size is not None:
            body["size"] = size
        if counter:
            body["stmt"] = [{"counter": None}]
        return {"add": {"set": body}}

    def verdicts(self, name: str, *, size: int | None = None) -> Command:
        """Add a map from mark to verdict; with a size the kernel takes its fast hash."""
        body: dict[str, Any] = {**self._at, "name": name, "type": "mark", "map": "verdict"}
        if size is not None:
            body["size"] = size
        return {"add": {"map": body}}

    def chain(self, name: str, *rules: Sequence[Stmt], **hook: object) -> Commands:
        """Add a chain (a base chain where hook is given) and its rules."""
        base = {"type": "filter", "policy": "accept", **hook} if hook else {}
        return [
            {"add": {"chain": {**self._at, "name": name, **base}}},
            *({"add": {"rule": {**self._at, "chain": name, "expr": list(r)}}} for r in rules),
        ]

    def add(self, name: str, elements: Iterable[object]) -> Commands:
        """Add elements to a set or map; nothing when there are none."""
        return self._elements("add", name, elements)

    def delete(self, name: str, elements: Iterable[object]) -> Commands:
        """Delete elements of a set or map; nothing when there are none."""
        return self._elements("delete", name, elements)

    def _elements(self, verb: str, name: str, elements: Iterable[object]) -> Commands:
        several = list(elements)
        return [{verb: {"element": {**self._at, "name": name, "elem": several}}}] if several else []
