"""What an agent asks of the world, and what comes back: effects and their answers.

A driver does the effects for the generator in vipnft.agreement.protocol, and sends back what each
says."""

import enum
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from vipnft.agreement.loads import Load
from vipnft.agreement.promises import Ground, part
from vipnft.agreement.records import Contact, Standing, Table
from vipnft.model import Snapshot


class End(enum.StrEnum):
    """Why a life ended: all is given away, or a new life is to begin in its place."""

    STOPPED = "stopped"
    RENEWED = "renewed"


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


@dataclass(frozen=True)
class Adopt:
    """Kernel: this host's part of a table; of None, no bucket is mine."""

    table: Table | None
    me: str

    @functools.cached_property
    def owned(self) -> frozenset[int]:
        """Buckets that are mine, those being joined with them."""
        return self.table.owned(self.me) if self.table else frozenset()

    @functools.cached_property
    def draining(self) -> frozenset[int]:
        """Buckets of others in which my connections go on."""
        return self.table.draining(self.me) if self.table else frozenset()

    @functools.cached_property
    def part(self) -> str:
        """The digest of both."""
        return part(self.owned, self.draining)


@dataclass(frozen=True, slots=True)
class Transact:
    """Store: see store.contract.Store.transact. Sends back a Reply, or None if nobody knows.

    After `by`, by this host's monotonic clock, what is to be written is no longer: it is only read
    then, and not done."""

    versions: Mapping[str, int]
    puts: Mapping[str, bytes | None]
    by: float = math.inf


@dataclass(frozen=True, slots=True)
class Ask:
    """Peers: promise for a lease not to take over from this host, whose kernel holds `part` of a
    table, by that `version` of it. Sends back the frozenset of those who did; as soon as all have,
    and after a time that leaves the lease its chance. Not `firm`: whether they would, which binds
    nobody: who was asked so is not one to whom anything was promised."""

    contacts: Mapping[str, Contact]
    version: int
    part: str
    firm: bool = True


@dataclass(frozen=True, slots=True)
class Stand:
    """From now on this host promises by this ground alone. Sends back who was promised anything
    before, in this life: a Mapping, by host, of when it last was, on this host's monotonic clock.

    Whoever answers sees either ground whole: what is promised after the answer, is by this one.
    """

    ground: Ground


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back after the rest of a beat; before, to look around: when the table changes if
    `soon`, and after `most` seconds. Sends back what is asked of this host: a Wish."""

    soon: bool = False
    most: float = math.inf


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log: what changed, and why."""

    text: str


Effect = Flush | Arm | Grant | Adopt | Transact | Ask | Stand | Wait | Note


@dataclass(frozen=True, slots=True)
class Reply:
    """A store's answer; `now` is this host's monotonic clock after it arrived."""

    done: bool
    snapshot: Snapshot
    now: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of this host now: its weight and standing; which of its draining buckets
    have no connection left or are past their time; whether it is time to beat; whether it can't
    be reached (nothing is left to drain then); whether it is to begin a new life in place; how
    many packets its kernel took so far; which hosts don't answer when they are called; what its
    buckets carry, where they are to follow the load."""

    weight: int
    standing: Standing = Standing.SERVING
    drained: frozenset[int] = frozenset()
    due: bool = True
    cut_off: bool = False
    renew: bool = False
    taken: int = 0
    unheard: frozenset[str] = frozenset()
    carries: Load | None = None


@dataclass(frozen=True, slots=True)
class Params:
    """Who this agent is: its host, this life's mark and those of lives before it on this
    machine (which are over), lease in seconds, buckets and how clients are dealt to them.
    `hosts` are the cluster file's: who is none of them is given nothing; `salt` is what keeps their
    names from telling who is given what. `failsafe`: it carries on without the store by the
    promises of all others, and `contact` is where it is asked for its own."""

    me: str
    incarnation: str
    lease: float
    buckets: int
    hosts: frozenset[str]
    former: frozenset[str] = frozenset()
    deal: str = ""
    salt: bytes = b""
    hold_on_loss: bool = False
    failsafe: bool = False
    contact: Contact | None = None
