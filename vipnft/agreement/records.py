"""What stands in the store: docs/design.md, "The cluster".

Rule 1: what no agent could have written is as absent: a key of a host that no file could name, a
        weight, a lease, a number that none could have. Any host's credential may write any key, and
        one bad key must end nobody.
Rule 2: a table that can't be read is an error that says so, never a guess; to an agent it is a
        store that is away.
Rule 3: no clock, store or kernel here.
"""

import enum
import functools
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vipnft.agreement.loads import Load, Spending
from vipnft.agreement.values import document, flag, names, number, seconds, sequence, word
from vipnft.errors import VipnftError
from vipnft.model import MAX_BUCKETS, NAME, Owners, Snapshot

TABLE = "table"
RENEWAL_S = 2.0
"""Seconds that a lease is made to last, at least, while a host's agent begins a new life."""
_FORMAT = 2
_TABLE_BYTES = 16 << 20
_KEY_BYTES = 4096
_MEMBER_BYTES = 128 << 10  # it names every host
_ADDRESSES = 8  # of one host at which it is asked, at most
_SECRET = re.compile(r"[0-9a-f]{32}")
_MOST_WEIGHT = 1000
_MOST = 2**63 - 1  # of what is counted
_NAMED = re.compile(NAME)
_OWNER = re.compile(rf"\??{NAME}")  # one who never was, too: see steps
_TAKEOVERS = 1000  # of the last hosts: names come and go, and a table must fit into the store


class AgreementError(VipnftError):
    """A key in the store that this version can't use."""


@dataclass(frozen=True)
class Table:
    """Who owns each bucket, and who may still drain it; `deal` names how clients become buckets.

    `takeovers`: by host, the version of the last table on which it was taken over from; those
    before `since` are not told (None: nor are any, as where an older agent wrote it).
    """

    owners: Owners
    drains: Mapping[int, frozenset[str]] = field(default_factory=dict)
    deal: str = ""
    since: int | None = None
    takeovers: Mapping[str, int] = field(default_factory=dict)

    @functools.cached_property
    def drainers(self) -> frozenset[str]:
        """Every host that drains anything."""
        return frozenset(host for hosts in self.drains.values() for host in hosts)

    @functools.cached_property
    def parties(self) -> frozenset[str]:
        """Every host that owns or drains anything."""
        return self.drainers.union(self.owners)

    def owned(self, host: str) -> frozenset[int]:
        """Return which buckets are a host's, those that it joins with them."""
        return frozenset(b for b, owner in enumerate(self.owners) if owner == host)

    def draining(self, host: str) -> frozenset[int]:
        """Return which of others' buckets a host drains."""
        mine = (b for b, hosts in self.drains.items() if host in hosts)
        return frozenset(b for b in mine if self.owners[b] != host)

    def then(
        self,
        version: int,
        owners: Owners,
        drains: Mapping[int, frozenset[str]],
        dead: Collection[str] = (),
    ) -> "Table":
        """Return what this one, of a `version`, becomes; all is taken from the `dead`."""
        since = version if self.since is None else self.since
        takeovers = {**self.takeovers, **dict.fromkeys(dead, version)}
        for host in sorted(takeovers, key=takeovers.__getitem__)[:-_TAKEOVERS]:
            since = max(since, takeovers.pop(host) + 1)
        some = {b: hosts for b, hosts in drains.items() if hosts}
        return Table(owners, some, self.deal, since, takeovers)

    def spared(self, host: str, version: int) -> bool:
        """Tell whether nobody took anything from a host since the table of that version. What it
        gave away, and what it drained, had left its kernel before (see steps)."""
        return (
            self.since is not None
            and version >= self.since
            and version > self.takeovers.get(host, 0)
        )

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        drains = {str(b): sorted(hosts) for b, hosts in sorted(self.drains.items()) if hosts}
        return json.dumps(
            {
                "format": _FORMAT,
                "deal": self.deal,
                "owners": self.owners,
                "drains": drains,
                "since": self.since,
                "takeovers": dict(self.takeovers),
            }
        ).encode()

    def require(self, deal: str, buckets: int) -> None:
        """See that it deals clients like this; AgreementError if not."""
        if (self.deal, len(self.owners)) != (deal, buckets):
            raise AgreementError(
                "the agents in this store deal clients by another seed, or to another number of"
                " buckets",
                fix="give all hosts the same file; to change it, stop all agents first",
            )

    @classmethod
    @functools.lru_cache(maxsize=4)
    def load(cls, value: bytes) -> "Table":
        """Read what `dump` wrote; AgreementError says what is wrong with anything else."""
        try:
            found = document(value, _TABLE_BYTES)
            known = found["format"]
            if known != _FORMAT and isinstance(known, int):
                raise AgreementError(
                    f"the table in the store has format {known:d}, this is {_FORMAT}",
                    fix="upgrade vipnft on this host"
                    if known > _FORMAT
                    else "upgrade all hosts: stop their agents, delete the table's key, start them",
                )
            owners = tuple(sequence(found["owners"]))
            drains = {int(b): frozenset(sequence(hosts)) for b, hosts in found["drains"].items()}
            if not 0 < len(owners) <= MAX_BUCKETS or not all(0 <= b < len(owners) for b in drains):
                raise ValueError("a bucket without an owner")
            since, takeovers = found.get("since"), found.get("takeovers", {})
            for name in set(owners).union(*drains.values(), takeovers):
                if not _OWNER.fullmatch(name):
                    raise ValueError("an owner that no file could name")
            return cls(
                owners,
                drains,
                word(found["deal"]),
                None if since is None else number(since, _MOST),
                {host: number(version, _MOST - 1) for host, version in takeovers.items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise AgreementError(
                f"the table in the store is corrupt ({type(error).__name__}: {str(error)[:80]!r})",
                fix="delete the key: the agents write a new one",
            ) from error


class Standing(enum.StrEnum):
    """What a host says of itself; only a serving one is given buckets, while there is any."""

    SERVING = "serving"
    FAILING = "failing"
    DRAINED = "drained"
    STOPPING = "stopping"
    SETTLING = "settling"


ABLE = (Standing.SERVING, Standing.SETTLING)
"""Whose host could serve all: while nobody serves, those that settle are given everything."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a life is asked for promises: its host's own addresses, the UDP port, and its secret,
    128 bits in hex, made anew for each life."""

    addresses: tuple[str, ...]
    port: int
    secret: str


@dataclass(frozen=True, slots=True)
class Member:
    """One host's key: who writes it, how long its lease is (seconds), and how much it takes.

    `hold_on_loss`: it carries on without the store, so that silence does not say it is dead
    (`hold` in the store). `taken`: packets that its kernel took so far. `contact`: where it is
    asked for promises, and that it carries on by them; `knows`: whom it asks, and who alone may
    take over from it then; `unheard`: which of them don't answer it, as far as it tells;
    `carries`: what its buckets do, where it lets them follow the load (`cpu` in the store: the
    CPU that it takes).
    """

    incarnation: str
    beat: int
    lease: float
    weight: int
    standing: Standing = Standing.SERVING
    hold_on_loss: bool = False
    taken: int = 0
    knows: frozenset[str] = frozenset()
    contact: Contact | None = None
    unheard: frozenset[str] = frozenset()
    carries: Load | None = None

    def yields_to(self, host: str) -> bool:
        """Tell whether a host may take over from this one when it is silent (F1). Of one that
        does not carry on by promises, everybody may."""
        return self.contact is None or host in self.knows

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        known = asdict(replace(self, carries=None))
        known["carries"] = self.carries.dump() if self.carries else ""
        known["cpu"] = self.carries.spent.dump() if self.carries and self.carries.spent else None
        # To agents that know of no promises: its silence does not say that it is dead.
        known["hold"] = known.pop("hold_on_loss") or self.contact is not None
        known["knows"], known["unheard"] = sorted(self.knows), sorted(self.unheard)
        return json.dumps(known).encode()

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def load(value: bytes) -> "Member | None":
        """Read what `dump` wrote; None for anything else: no agent beats there."""
        try:
            found = document(value, _MEMBER_BYTES)
            contact = _contact(found.get("contact"))
            return Member(
                word(found["incarnation"]),
                number(found["beat"], _MOST),
                seconds(found["lease"]),
                number(found["weight"], _MOST_WEIGHT),
                Standing(found["standing"]),
                flag(found["hold"]) and contact is None,
                number(found.get("taken", 0), _MOST),
                names(found.get("knows", [])),
                contact,
                names(found.get("unheard", [])),
                _carries(found.get("carries", ""), found.get("cpu")),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator said of a host: its weight (None: as its file has it), to drain it, and
    that it is off.

    `off` is the version at which its key stood then (0: it had none): the word is void by itself
    once the host beats again.
    """

    weight: int | None = None
    drained: bool = False
    off: int | None = None

    def dump(self) -> bytes:
        """Return it as the store holds it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, value: bytes) -> "Order":
        """Read what `dump` wrote; anything else orders nothing."""
        return cls.read(value) or cls()

    @classmethod
    def read(cls, value: bytes) -> "Order | None":
        """Read what `dump` wrote; None for anything else."""
        try:
            found = document(value, _KEY_BYTES)
            weight, off = found["weight"], found.get("off")
            return cls(
                None if weight is None else number(weight, _MOST_WEIGHT),
                flag(found["drained"]),
                None if off is None else number(off, _MOST),
            )
        except (ValueError, KeyError, TypeError):
            return None


def _contact(value: Any) -> Contact | None:
    """Return where a host is asked, if it says so; ValueError where nobody could be asked."""
    if value is None:
        return None
    addresses = tuple(str(ipaddress.ip_address(word(one))) for one in sequence(value["addresses"]))
    port, secret = number(value["port"], 65535), word(value["secret"])
    if not 0 < len(addresses) <= _ADDRESSES or not port or not _SECRET.fullmatch(secret):
        raise ValueError("no such contact")
    return Contact(addresses, port, secret)


def _carries(value: Any, cpu: Any) -> Load | None:
    """Return what a host says of its load, if it does so that it can be read here: a host whose
    agent is newer is there all the same."""
    try:
        return replace(Load.read(value), spent=Spending.read(cpu))
    except (ValueError, TypeError):
        return None


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
        host: Member.load(entry.value)
        for key, entry in snapshot.items()
        if key.startswith("host/") and _NAMED.fullmatch(host := key.removeprefix("host/"))
    }
    return {host: member for host, member in loaded.items() if member is not None}


def strangers(snapshot: Snapshot, hosts: Collection[str]) -> list[str]:
    """Return the keys that no agent of these hosts, nor who orders them, could have written."""
    found = []
    for key, entry in snapshot.items():
        kind, _, host = key.partition("/")
        one: object = None
        if host in hosts and kind in {"host", "order"}:
            one = Member.load(entry.value) if kind == "host" else Order.read(entry.value)
        if key != TABLE and one is None:
            found.append(key)
    return sorted(found)


def require_legible(snapshot: Snapshot, deal: str, buckets: int) -> None:
    """See that the table, if there is one, can be read, and deals clients as this host does."""
    entry = snapshot.get(TABLE)
    if entry is not None:
        Table.load(entry.value).require(deal, buckets)


def order(snapshot: Snapshot, host: str) -> Order:
    """Return what was ordered for a host."""
    entry = snapshot.get(order_of(host))
    return Order.load(entry.value) if entry else Order()


def weights(known: Mapping[str, Member]) -> dict[str, int]:
    """Return how much each of the living takes.

    Where nobody serves, those go on that came back only now. Where all that could serve fail their
    checks, those: a broken check must not take the service down; and where all are drained, those.
    A stopping host takes nothing: all may be 0.
    """
    result: dict[str, int] = {}
    for standing in (*ABLE, Standing.FAILING, Standing.DRAINED):
        result = {h: m.weight if m.standing is standing else 0 for h, m in known.items()}
        if any(result.values()):
            break
    return result
