# What the agents of a cluster agree on: the values in the store, and what an agent asks of the
# world. design: "The cluster".
# Rule 1: what can't be read is an error that says so, never a guess.
# Rule 2: no clock, store or kernel here.
"""The agreement of agents: what stands in the store, and effects."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vipnft.errors import VipnftError
from vipnft.model import Owners

TABLE = "table"
_FORMAT = 1


class PactError(VipnftError):
    """A key in the store that this version can't use."""


@dataclass(frozen=True, slots=True)
class Table:
    """Who owns each bucket, and who may still drain it."""

    owners: Owners
    drains: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        drains = {str(b): sorted(hosts) for b, hosts in sorted(self.drains.items()) if hosts}
        return json.dumps({"format": _FORMAT, "owners": self.owners, "drains": drains}).encode()

    @classmethod
    def load(cls, value: bytes) -> "Table":
        """Read what `dump` wrote; PactError says what is wrong with anything else."""
        try:
            found = json.loads(value)
            if found["format"] != _FORMAT:
                raise PactError(
                    f"the table in the store has format {found['format']}, this is {_FORMAT}",
                    fix="upgrade vipnft on this host",
                )
            owners = tuple(str(name) for name in found["owners"])
            drains = {int(b): frozenset(map(str, hosts)) for b, hosts in found["drains"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PactError(
                f"the table in the store is corrupt ({error})",
                fix="stop all agents, delete the key, and start them again",
            ) from error
        return cls(owners, drains)


@dataclass(frozen=True, slots=True)
class Member:
    """One host's key: who writes it, how long its lease is (seconds), and how much it takes."""

    incarnation: str
    beat: int
    lease: float
    weight: int

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        return json.dumps(
            {
                "incarnation": self.incarnation,
                "beat": self.beat,
                "lease": self.lease,
                "weight": self.weight,
            }
        ).encode()

    @classmethod
    def load(cls, value: bytes) -> "Member":
        """Read what `dump` wrote; PactError says what is wrong with anything else."""
        try:
            found = json.loads(value)
            return cls(
                str(found["incarnation"]),
                int(found["beat"]),
                float(found["lease"]),
                int(found["weight"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PactError(f"a host's key in the store is corrupt ({error})") from error


def key_of(host: str) -> str:
    """Return the store's key of a host."""
    return f"host/{host}"


def patience(lease: float) -> float:
    """Return for how many seconds a beat must stand still before its host is dead."""
    return lease * 1.1 + 0.05


# Effects: what a driver does for the generator, and what it sends back.


@dataclass(frozen=True, slots=True)
class Flush:
    """Kernel: no slot is granted, no bucket is mine. Sends back None."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Kernel: this slot is not granted, and armed for `lease` seconds from now."""

    slot: int
    lease: float


@dataclass(frozen=True, slots=True)
class Grant:
    """Kernel: this slot is granted."""

    slot: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Kernel: these buckets are mine, those I drain, of the first some are being joined."""

    owned: frozenset[int]
    joining: frozenset[int]
    draining: frozenset[int]


@dataclass(frozen=True, slots=True)
class Transact:
    """Store: see store.Store.transact. Sends back a Said, or None if nobody knows."""

    versions: Mapping[str, int]
    puts: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back after the rest of a beat. Sends back what is asked of this host: a Wish."""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log: what changed, and why."""

    text: str


Effect = Flush | Arm | Grant | Hold | Transact | Wait | Note


@dataclass(frozen=True, slots=True)
class Said:
    """A store's answer; `now` is this host's monotonic clock after it arrived."""

    done: bool
    snapshot: Mapping[str, Any]
    now: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of this host at this beat: its weight (0: give all away), and which of its
    draining buckets have no connection left or are past their time."""

    weight: int
    drained: frozenset[int] = frozenset()
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Params:
    """Who this agent is: its host, this life's mark, lease in seconds, and the buckets."""

    me: str
    incarnation: str
    lease: float
    buckets: int


def members(snapshot: Mapping[str, Any]) -> dict[str, Member]:
    """Return every host's key in a snapshot, by host."""
    return {
        key.removeprefix("host/"): Member.load(entry.value)
        for key, entry in snapshot.items()
        if key.startswith("host/")
    }


def drainers(table: Table) -> set[str]:
    """Return every host that drains anything."""
    return {host for hosts in table.drains.values() for host in hosts}
