"""The project's nft tables; no other program's is ever named."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vipnft.ruleset.nftjson import Command, Commands, Stmt


@dataclass(frozen=True, slots=True)
class NftTable:
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

    def remembered(self, name: str, of: Sequence[str], *, seconds: int, size: int) -> Command:
        """Add a set that packets fill: of such fields side by side, each for some seconds."""
        body = {"type": list(of), "flags": ["timeout"], "timeout": seconds}
        return {"add": {"set": {**self._at, "name": name, "size": size, **body}}}

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


NETDEV = NftTable("netdev", "vipnft")
ARP = NftTable("arp", "vipnft")
INET = NftTable("inet", "vipnft")
TABLES = (NETDEV, ARP, INET)
