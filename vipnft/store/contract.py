"""What agents agree through: one small protocol, a backend a file.

Rule 1: one call is one atomic transaction, and one round trip.
Rule 2: an error tells whether something may have been written; in doubt it is StoreUnknown.
Rule 3: a version never comes twice for a key: not after delete and re-create, and not after
        the whole store was lost and made anew.

VipnftError
└── StoreError            all say where, never with a password
    ├── StoreUnreachable  it could not be asked, or not in time: nothing was written
    ├── StoreUnknown      asked to write, and no answer: it may be written, now or later
    ├── StoreRefused      it said no: nothing was written, and retrying helps after the fix only
    └── StoreCorrupt      what is there is damaged, or not ours: nothing was written
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from vipnft.errors import VipnftError
from vipnft.model import Snapshot

SCHEMES = {
    "sqlite": "sqlite:///absolute/path",
    "etcd": "etcd://[user[:password]@]host[:port],...[?ca=FILE&cert=FILE&key=FILE]",
}


class StoreError(VipnftError):
    """The store did not do what it was asked."""


class StoreUnreachable(StoreError):  # noqa: N818
    """It could not be asked, or a read was not answered in time: nothing was written."""


class StoreUnknown(StoreError):  # noqa: N818
    """A write without an answer: it may have been executed, or may yet be."""


class StoreRefused(StoreError):  # noqa: N818
    """It said no, and will again until somebody mends the cause: nothing was written."""


class StoreCorrupt(StoreError):  # noqa: N818
    """What is there is damaged or not ours: nothing was written."""


class Answer(NamedTuple):
    """Whether the puts were made, and everything as it was right after them."""

    done: bool
    snapshot: Snapshot


class Store(Protocol):
    """One cluster's keys. An object serves one call at a time, and does not outlive a fork."""

    def transact(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        *,
        timeout: float,
        brief: bool = False,
    ) -> Answer:
        """If every key in `versions` has that version (0: absent), make all puts (None: delete),
        else none of them, and read everything: all of it in one transaction. `brief`: the keys
        that are not named here may be as the last answer that was not brief had them."""
        ...

    def watch(self, key: str) -> int | None:
        """Return an eventfd that is written to when a key may have changed; None where nobody
        tells. A hint comes late, for nothing, or never; call it once, and before `close`."""
        ...

    def close(self) -> None:
        """Give back connections; a later transaction opens them anew."""
        ...
