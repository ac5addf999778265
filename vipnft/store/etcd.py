"""A store in etcd 3, for production: any member may be asked, all agree.

Rule 1: a call is one etcd transaction: compare revisions; then puts and a read, or a read.
Rule 2: members are asked in turn from the last good one, each for its share of the time left;
        a write that was sent is never sent again: its outcome is unknown, and the caller's to
        judge. The next call starts with the next member.
Rule 3: a version is etcd's revision of the key plus the epoch: the microsecond in which these
        keys' store was first written to, itself a key. An etcd that lost its data starts again
        from revision 1, perhaps with the same identity; the epoch is compared with the rest.
Rule 4: what is known is not read again: a transaction asks for what changed after the newest
        revision of the last whole answer, and for how many keys there are, which tells of those
        that were deleted. Where that does not fit, or the store's revisions went back, what is
        known is forgotten, and all is read as it was at the transaction's revision.
Rule 5: a store whose revisions went back under the same epoch, or any key's (others may have
        written much to the same etcd since), was put back from a backup. What it says was agreed
        on is over, and hosts may go on by what it has forgotten: whoever sees that empties it,
        with a new epoch, so that it is as one that lost all.
Rule 6: everything is under /vipnft/CLUSTER/, so that a role can be given just that.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, Self
from urllib.parse import quote

from vipnft.model import Entry, Snapshot
from vipnft.store.contract import (
    Answer,
    StoreCorrupt,
    StoreError,
    StoreRefused,
    StoreUnknown,
    StoreUnreachable,
)
from vipnft.store.etcd_member import Lost, Member, Missed, Refused, Unfit
from vipnft.store.etcd_url import parsed
from vipnft.store.etcd_watch import Hints

_EPOCH = ".epoch"
_LAST_EPOCH = 2**62  # microseconds: what is beyond no clock has said

Op = dict[str, Any]


class _Range(NamedTuple):
    """What a range has: how many keys there are, and value and revision of those that came."""

    keys: int
    entries: dict[str, tuple[bytes, int]]

    def valued(self, puts: Mapping[str, bytes | None]) -> "_Range":
        """Return it with the values of what was put just now, which did not come back."""
        entries = {
            key: (puts.get(key) or value, revision)
            for key, (value, revision) in self.entries.items()
        }
        return _Range(self.keys, entries)


class EtcdStore:
    """One cluster's keys in etcd. `shown` is the URL as it may be shown: without the password."""

    def __init__(self, members: Callable[[], list[Member]], cluster: str, shown: str) -> None:
        self._fresh = members
        self._members = members()  # the last good one first
        self._hints: Hints | None = None
        self._prefix = f"/vipnft/{quote(cluster, safe='')}/"
        self._where = f"store {shown}"
        self._epoch: int | None = None  # not asked yet; 0: the store has none
        self._known = _Known()
        self._last: Mapping[str, tuple[bytes, int]] = {}  # all entries, as last read
        self._highest = 0  # of all versions, and of the revisions of this epoch's store
        self._revision = 0

    @classmethod
    def at(cls, url: str, cluster: str, password_file: str = "") -> Self:
        """Return the store at etcd://...; nobody is asked yet."""
        etcd = parsed(url, password_file)
        return cls(etcd.members, cluster, etcd.shown)

    def transact(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        *,
        timeout: float,
        brief: bool = False,
    ) -> Answer:
        """See Store.transact."""
        deadline = time.monotonic() + timeout
        while True:
            # Without the epoch, no version but 0 can be compared; one at or below it is of
            # another life of the store. A read tells which.
            floor = self._epoch if self._epoch is not None else float("inf")
            writes = bool(puts) and all(not v or v > floor for v in versions.values())
            named = {*versions, *puts} if brief and writes and self._known.whole else None
            compare = self._compare(versions) if writes else []
            success = self._ranges(named, puts)
            if writes:
                success = [*self._puts(puts), *success]
            reply = self._ask(_txn(compare, success, self._ranges(named)), writes, deadline)
            succeeded, snapshot = self._read(reply, deadline, named, puts)
            if writes and succeeded:
                return Answer(True, snapshot)
            met = all(
                (snapshot[key].version if key in snapshot else 0) == version
                for key, version in versions.items()
            )
            if not met or not puts:
                return Answer(met, snapshot)
            # The conditions hold, but not the epoch we went by: now we know the right one. Or else
            # what is known is of another life of the store.
            self._known = _Known()

    def watch(self, key: str) -> int:
        """See Store.watch."""
        self._hints = self._hints or Hints(self._fresh(), _b64(self._prefix + key))
        return self._hints.fd

    def close(self) -> None:
        """See Store.close."""
        if self._hints:
            self._hints.close()
        for member in self._members:
            member.close()

    def _ask(self, body: Op, writes: bool, deadline: float) -> Any:
        """Send one transaction to the first member that takes it."""
        faults: list[tuple[str, Missed | Lost]] = []
        known, self._known = self._known, _Known()  # forgotten by whatever goes wrong
        for turn, member in enumerate(list(self._members)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            share = left / (len(self._members) - turn)
            try:
                reply = member.transaction(body, connect=share, total=left if writes else share)
                self._known = known
                return reply
            except Refused as refused:
                raise StoreRefused(f"{self._where}: {refused}", fix=refused.fix) from refused
            except Lost as lost:
                self._members = [*self._members[1:], member]
                faults.append((member.where, lost))
                if writes:
                    raise StoreUnknown(
                        f"{self._where}: a write may be done or not: {member.where}: {lost}",
                        fix="see that etcd is well: etcdctl endpoint status --cluster",
                    ) from lost
            except Missed as missed:
                self._members = [*self._members[1:], member]
                faults.append((member.where, missed))
        told = "; ".join(f"{where}: {fault}" for where, fault in faults) or "no time to ask it"
        if faults and all(isinstance(fault, Unfit) for _, fault in faults):
            raise StoreRefused(f"{self._where}: {told}", fix=faults[0][1].fix)
        raise StoreUnreachable(
            f"{self._where}: not reached: {told}",
            fix="see that etcd runs, and that host and port in the URL are its client address",
        )

    def _compare(self, versions: Mapping[str, int]) -> list[Op]:
        key, epoch = _key(self._prefix + _EPOCH), self._epoch or 0
        return [
            {**key, "target": "VALUE", "result": "EQUAL", "value": _b64(str(epoch))}
            if epoch
            else {**key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
            *(
                {
                    **_key(self._prefix + key),
                    "target": "MOD",
                    "result": "EQUAL",
                    "mod_revision": str(version - epoch if version else 0),
                }
                for key, version in versions.items()
            ),
        ]

    def _puts(self, puts: Mapping[str, bytes | None]) -> list[Op]:
        epoch = {}
        if not self._epoch:
            epoch[_EPOCH] = str(self._next_epoch()).encode()
        return [
            {"request_delete_range": _key(self._prefix + key)}
            if value is None
            else {"request_put": {**_key(self._prefix + key), "value": _b64(value)}}
            for key, value in chain(epoch.items(), puts.items())
        ]

    def _ranges(self, named: Collection[str] | None, put: Collection[str] = ()) -> list[Op]:
        """Return what reads what is not known of these keys, or of all; and of those just `put`,
        if they are named, no more than the revision."""
        known = self._known
        if named is None:
            return [{"request_range": {**self._all(), **_after(known.whole)}}]
        return [
            {
                "request_range": {
                    **_key(self._prefix + key),
                    **_after(known.revision(key)),
                    **({"keys_only": True} if key in put else {}),
                }
            }
            for key in sorted(named)
        ]

    def _all(self) -> Op:
        end = self._prefix[:-1] + chr(ord(self._prefix[-1]) + 1)
        return {**_key(self._prefix), "range_end": _b64(end)}

    def _read(
        self,
        reply: Any,
        deadline: float,
        named: Collection[str] | None = None,
        puts: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> tuple[bool, Snapshot]:
        """Read whether the conditions held, and all keys; learn the epoch."""
        try:
            succeeded, header = bool(reply.get("succeeded")), reply["header"]
            revision = int(header["revision"])
            found = self._found(reply, named)
            if succeeded and named is not None:
                found = [one.valued(puts) for one in found]
            known = self._known.after(header, named, found)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise self._corrupt(error) from error
        if known is None:
            again = {"request_range": {**self._all(), "revision": str(revision)}}
            try:
                whole = self._ask(_txn([], [again], []), False, deadline)
            except StoreError as error:
                if not succeeded:
                    raise
                raise StoreUnknown(str(error), fix=error.fix) from error
            try:
                known = _Known().after(header, None, self._found(whole, None))
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise self._corrupt(error) from error
        assert known is not None  # noqa: S101 - nothing was known before
        before, last, snapshot = self._epoch, self._last, self._learn(known)
        if before and self._epoch == before:
            old = any(known.revision(key) < at for key, (_, at) in last.items() if key in snapshot)
            if old or revision < self._revision:
                self._empty(before, deadline)
        self._revision, self._last = revision, known.entries
        return succeeded, snapshot

    def _empty(self, epoch: int, deadline: float) -> NoReturn:
        """Begin a new epoch in a store of the past, with nothing in it; its answer is none."""
        key = _key(self._prefix + _EPOCH)
        rest = {"key": _b64(self._prefix + _EPOCH + "\0"), "range_end": self._all()["range_end"]}
        same = {**key, "target": "VALUE", "result": "EQUAL", "value": _b64(str(epoch))}
        begun = {"request_put": {**key, "value": _b64(str(self._next_epoch()))}}
        self._ask(_txn([same], [begun, {"request_delete_range": rest}], []), True, deadline)
        self._known = _Known()
        raise StoreUnknown(
            f"{self._where}: it was put back from a backup: what it forgot is agreed anew",
            fix="stop all agents before a backup is put back",
        )

    def _next_epoch(self) -> int:
        """Return a new epoch: the clock may have gone back since another was made."""
        return max(time.time_ns() // 1000, self._highest + 1)

    def _found(self, reply: Any, named: Collection[str] | None) -> list[_Range]:
        """Return what each range of a reply has."""
        ranges = reply["responses"][-(1 if named is None else len(named)) :]
        return [
            _Range(
                int(one["response_range"].get("count", 0)),
                {
                    b64decode(kv["key"]).decode(errors="replace").removeprefix(self._prefix): (
                        b64decode(kv.get("value", "")),
                        int(kv["mod_revision"]),
                    )
                    for kv in one["response_range"].get("kvs", [])
                },
            )
            for one in ranges
        ]

    def _learn(self, known: "_Known") -> Snapshot:
        try:
            epoch = int(known.entries.get(_EPOCH, (b"0", 0))[0])
            if not 0 <= epoch < _LAST_EPOCH:
                raise ValueError("no such epoch")
        except ValueError as error:
            raise self._corrupt(error) from error
        self._known, self._epoch = known, epoch
        entries = {
            key: Entry(value, revision + epoch)
            for key, (value, revision) in known.entries.items()
            if key != _EPOCH
        }
        self._highest = max([self._highest, *(entry.version for entry in entries.values())])
        return entries

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self._where}: what is under {self._prefix} can't be read: {str(error)[:80]!r}",
            fix=f"stop the agents, then: etcdctl del --prefix {self._prefix}",
        )


class _Known(NamedTuple):
    """What was read: `whole`: up to which revision all of it is known (0: nothing is); by key,
    value and revision; and of which etcd cluster."""

    whole: int = 0
    entries: Mapping[str, tuple[bytes, int]] = MappingProxyType({})
    cluster: object = None

    def revision(self, key: str) -> int:
        """Return at which revision a key is known; 0 where it is not."""
        return self.entries[key][1] if key in self.entries else 0

    def after(
        self, header: Mapping[str, Any], named: Collection[str] | None, found: list[_Range]
    ) -> "_Known | None":
        """Return what is known after these answers, of these keys or of all; None where they don't
        fit what was known."""
        cluster, newest = header.get("cluster_id"), int(header["revision"])
        if self.whole and (cluster != self.cluster or newest < self.whole):
            return None
        entries = dict(self.entries)
        for one in found:
            entries.update(one.entries)
        if named is not None:
            for key, one in zip(sorted(named), found, strict=True):
                if not one.keys:
                    entries.pop(key, None)
            return _Known(self.whole, entries, cluster)
        if len(entries) != found[0].keys:
            return None
        newest = max((revision for _, revision in entries.values()), default=0)
        return _Known(max(self.whole, newest), entries, cluster)


def _after(revision: int) -> Op:
    return {"min_mod_revision": str(revision + 1)} if revision else {}


def _txn(compare: list[Op], success: list[Op], failure: list[Op]) -> Op:
    return {"compare": compare, "success": success, "failure": failure}


def _key(name: str) -> Op:
    return {"key": _b64(name)}


def _b64(value: str | bytes) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode()
