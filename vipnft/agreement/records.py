"""What stands in the store: docs/design.md, "The cluster".

Rule 1: what can't be read is an error that says so, never a guess.
Rule 2: no clock, store or kernel here.
"""

import enum
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from vipnft.errors import VipnftError
from vipnft.model import Owners, Snapshot

TABLE = "table"
RENEWAL_S = 2.0
"""Seconds that a lease is made to last, at least, while a host's agent begins a new life."""
_FORMAT = 1


class AgreementError(VipnftError):
    """A key in the store that this version can't use."""


@dataclass(frozen=True, slots=True)
class Table:
    """Who owns each bucket, and who may still drain it; `deal` names how clients become buckets."""

    owners: Owners
    drains: Mapping[int, frozenset[str]] = field(default_factory=dict)
    deal: str = ""

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        drains = {str(b): sorted(hosts) for b, hosts in sorted(self.drains.items()) if hosts}
        return json.dumps(
            {"format": _FORMAT, "deal": self.deal, "owners": self.owners, "drains": drains}
        ).encode()

    @classmethod
    def load(cls, value: bytes) -> "Table":
        """Read what `dump` wrote; AgreementError says what is wrong with anything else."""
        try:
            found = json.loads(value)
            if found["format"] != _FORMAT:
                raise AgreementError(
                    f"the table in the store has format {found['format']}, this is {_FORMAT}",
                    fix="upgrade vipnft on this host",
                )
            owners = tuple(str(name) for name in found["owners"])
            drains = {int(b): frozenset(map(str, hosts)) for b, hosts in found["drains"].items()}
            deal = str(found["deal"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AgreementError(
                f"the table in the store is corrupt ({type(error).__name__}: {error})",
                fix="stop all agents, delete the key, and start them again",
            ) from error
        if not owners or not all(0 <= b < len(owners) for b in drains):
            raise AgreementError(
                "the table in the store is corrupt (a bucket without an owner)",
                fix="stop all agents, delete the key, and start them again",
            )
        return cls(owners, drains, deal)


class Standing(enum.StrEnum):
    """What a host says of itself; only a serving one is given buckets, while there is any."""

    SERVING = "serving"
    FAILING = "failing"
    DRAINED = "drained"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Member:
    """One host's key: who writes it, how long its lease is (seconds), and how much it takes.

    `hold_on_loss`: it carries on without the store, so that silence does not say it is dead
    (`hold` in the store). `taken`: packets that its kernel took so far.
    """

    incarnation: str
    beat: int
    lease: float
    weight: int
    standing: Standing = Standing.SERVING
    hold_on_loss: bool = False
    taken: int = 0

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        known = asdict(self)
        known["hold"] = known.pop("hold_on_loss")
        return json.dumps(known).encode()

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def load(value: bytes) -> "Member | None":
        """Read what `dump` wrote; None for anything else: no agent beats there."""
        try:
            found = json.loads(value)
            return Member(
                str(found["incarnation"]),
                int(found["beat"]),
                float(found["lease"]),
                int(found["weight"]),
                Standing(found["standing"]),
                bool(found["hold"]),
                int(found.get("taken", 0)),
            )
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator said of a host: its weight (None: as its file has it), and to drain it."""

    weight: int | None = None
    drained: bool = False

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, value: bytes) -> "Order":
        """Read what `dump` wrote; anything else orders nothing."""
        try:
            found = json.loads(value)
            weight = found["weight"]
            return cls(None if weight is None else int(weight), bool(found["drained"]))
        except (ValueError, KeyError, TypeError):
            return cls()


def key_of(host: str) -> str:
    """Return the store's key of a host."""
    return f"host/{host}"


def order_of(host: str) -> str:
    """Return the store's key of what was ordered for a host."""
    return f"order/{host}"


def patience(lease: float) -> float:
    """Return for how many seconds a beat must stand still before its host is dead."""
    return lease * 1.1 + 0.05


def members(snapshot: Snapshot) -> dict[str, Member]:
    """Return every host's key in a snapshot, by host; what no agent wrote is left out."""
    loaded = {
        key.removeprefix("host/"): Member.load(entry.value)
        for key, entry in snapshot.items()
        if key.startswith("host/")
    }
    return {host: member for host, member in loaded.items() if member is not None}


def order(snapshot: Snapshot, host: str) -> Order:
    """Return what was ordered for a host."""
    entry = snapshot.get(order_of(host))
    return Order.load(entry.value) if entry else Order()


def weights(known: Mapping[str, Member]) -> dict[str, int]:
    """Return how much each of the living takes.

    Where all that could serve fail their checks, those go on: a broken check must not take the
    service down; and where all are drained, those. A stopping host takes nothing: all may be 0.
    """
    result: dict[str, int] = {}
    for standing in (Standing.SERVING, Standing.FAILING, Standing.DRAINED):
        result = {h: m.weight if m.standing is standing else 0 for h, m in known.items()}
        if any(result.values()):
            break
    return result


def drainers(table: Table) -> set[str]:
    """Return every host that drains anything."""
    return {host for hosts in table.drains.values() for host in hosts}
