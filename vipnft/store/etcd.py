"""A store in etcd 3, for production: any member may be asked, all agree.

Rule 1: a call is one etcd transaction: compare revisions; then puts and a read, or a read.
Rule 2: members are asked in turn from the last good one, each for its share of the time left;
        a write that was sent is never sent again: its outcome is unknown, and the caller's to
        judge. The next call starts with the next member.
Rule 3: a version is etcd's revision of the key plus the epoch: the microsecond in which these
        keys' store was first written to, itself a key. An etcd that lost its data starts again
        from revision 1, perhaps with the same identity; the epoch is compared with the rest.
Rule 4: everything is under /vipnft/CLUSTER/, so that a role can be given just that.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Self
from urllib.parse import quote

from vipnft.model import Entry, Snapshot
from vipnft.store.contract import (
    Answer,
    StoreCorrupt,
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


class EtcdStore:
    """One cluster's keys in etcd. `shown` is the URL as it may be shown: without the password."""

    def __init__(self, members: Callable[[], list[Member]], cluster: str, shown: str) -> None:
        self._fresh = members
        self._members = members()  # the last good one first
        self._hints: Hints | None = None
        self._prefix = f"/vipnft/{quote(cluster, safe='')}/"
        self._where = f"store {shown}"
        self._epoch: int | None = None  # not asked yet; 0: the store has none
        self._highest = 0

    @classmethod
    def at(cls, url: str, cluster: str, password_file: str = "") -> Self:
        """Return the store at etcd://...; nobody is asked yet."""
        etcd = parsed(url, password_file)
        return cls(etcd.members, cluster, etcd.shown)

    def transact(
        self, versions: Mapping[str, int], puts: Mapping[str, bytes | None], *, timeout: float
    ) -> Answer:
        """See Store.transact."""
        deadline = time.monotonic() + timeout
        while True:
            # Without the epoch, no version but 0 can be compared; one at or below it is of
            # another life of the store. A read tells which.
            floor = self._epoch if self._epoch is not None else float("inf")
            writes = bool(puts) and all(not v or v > floor for v in versions.values())
            compare = self._compare(versions) if writes else []
            success = [*self._puts(puts), self._range()] if writes else [self._range()]
            reply = self._ask(_txn(compare, success, [self._range()]), writes, deadline)
            succeeded, snapshot = self._read(reply)
            if writes and succeeded:
                return Answer(True, snapshot)
            met = all(
                (snapshot[key].version if key in snapshot else 0) == version
                for key, version in versions.items()
            )
            if not met or not puts:
                return Answer(met, snapshot)
            # The conditions hold, but not the epoch we went by: now we know the right one.

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
        for turn, member in enumerate(list(self._members)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            share = left / (len(self._members) - turn)
            try:
                return member.transaction(body, connect=share, total=left if writes else share)
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
            # The clock may have gone back since another epoch was made.
            now = max(time.time_ns() // 1000, self._highest + 1)
            epoch[_EPOCH] = str(now).encode()
        return [
            {"request_delete_range": _key(self._prefix + key)}
            if value is None
            else {"request_put": {**_key(self._prefix + key), "value": _b64(value)}}
            for key, value in chain(epoch.items(), puts.items())
        ]

    def _range(self) -> Op:
        end = self._prefix[:-1] + chr(ord(self._prefix[-1]) + 1)
        return {"request_range": {**_key(self._prefix), "range_end": _b64(end)}}

    def _read(self, reply: dict[str, Any]) -> tuple[bool, Snapshot]:
        """Read whether the conditions held, and all keys; learn the epoch."""
        try:
            found = {
                b64decode(kv["key"]).decode(errors="replace").removeprefix(self._prefix): (
                    b64decode(kv.get("value", "")),
                    int(kv["mod_revision"]),
                )
                for kv in reply["responses"][-1]["response_range"].get("kvs", [])
            }
            epoch = int(found.pop(_EPOCH, (b"0", 0))[0])
            if not 0 <= epoch < _LAST_EPOCH:
                raise ValueError("no such epoch")
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StoreCorrupt(
                f"{self._where}: what is under {self._prefix} can't be read: {str(error)[:80]!r}",
                fix=f"stop the agents, then: etcdctl del --prefix {self._prefix}",
            ) from error
        self._epoch = epoch
        entries = {key: Entry(value, rev + epoch) for key, (value, rev) in found.items()}
        self._highest = max([self._highest, *(entry.version for entry in entries.values())])
        return bool(reply.get("succeeded")), entries


def _txn(compare: list[Op], success: list[Op], failure: list[Op]) -> Op:
    return {"compare": compare, "success": success, "failure": failure}


def _key(name: str) -> Op:
    return {"key": _b64(name)}


def _b64(value: str | bytes) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode()
