"""A store in a file: for the agents of one machine (a lab, the tests, a first try).

Rule 1: write-ahead log: readers never wait, and a writer waits only for the writer before it.
Rule 2: synchronous=NORMAL: a commit survives any death of processes, and a loss of power may
        take the last ones back. All who could remember them are on this machine, and die too.
Rule 3: a version is the microsecond of its transaction, or the last version plus one if that
        is more: versions grow whatever the clock does, and a new file never repeats an old one.
Rule 4: the file is known by its inode, seen again inside each transaction and after each
        commit: what went into a file that was deleted meanwhile is not called done.
Rule 5: a file whose last version went back, or any key's (others may have written to it since),
        was put back from a backup: whoever sees that empties it, for hosts may go on by what it
        has forgotten (see etcd).
"""

import contextlib
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Self
from urllib.parse import unquote

from vipnft.errors import UsageError
from vipnft.model import Entry, Snapshot
from vipnft.shown import without_login
from vipnft.store.contract import (
    Answer,
    StoreCorrupt,
    StoreError,
    StoreRefused,
    StoreUnknown,
    StoreUnreachable,
)

_MARK = 0x76697066  # "vipf": the file's application_id
_SCHEMA = """
CREATE TABLE entry (
    cluster TEXT, key TEXT, value BLOB NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (cluster, key)
) WITHOUT ROWID;
CREATE TABLE last (version INTEGER NOT NULL);
INSERT INTO last VALUES (0);
"""
_PAUSE_S = 0.001
"""Seconds to wait for a lock before asking again; SQLite's own waits grow to 100 ms,
and are longest for who has waited longest."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_Identity = tuple[tuple[int, int] | None, ...]


class _Moved(Exception):  # noqa: N818 - no error: the file is opened anew
    """The database that is open is no longer the one at the path."""


class SqliteStore:
    """One cluster's keys in a file that may hold several clusters'."""

    def __init__(self, path: Path, cluster: str) -> None:
        self._path = path
        self._files = [Path(f"{path}{end}") for end in ("", "-wal", "-shm")]
        self._cluster = cluster
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity = ()
        self._last = 0  # the highest version that the file was seen to have given
        self._seen: Snapshot = {}  # what it had then

    @classmethod
    def at(cls, url: str, cluster: str) -> Self:
        """Return the store at sqlite:///absolute/path; the file is made at the first call."""
        rest = url.partition("://")[2]
        if not rest.startswith("/") or not rest.strip("/") or {"?", "\0"} & set(unquote(rest)):
            raise UsageError(
                f"{without_login(url)}: not an absolute path",
                fix="give it as sqlite:///absolute/path",
            )
        return cls(Path("/" + unquote(rest).lstrip("/")), cluster)

    def transact(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        *,
        timeout: float,
        brief: bool = False,  # noqa: ARG002 - everything is as cheap
    ) -> Answer:
        """See Store.transact."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                connection = self._connection or self._connect(deadline)
                return self._transact(connection, versions, puts, deadline)
            except BaseException as error:
                self.close()  # whatever was begun is rolled back
                if isinstance(error, _Moved):
                    if time.monotonic() < deadline:
                        time.sleep(_PAUSE_S)
                        continue
                    raise StoreUnreachable(
                        f"{self._where}: the file is being replaced all the time",
                        fix="don't delete or move the file while agents run",
                    ) from error
                if isinstance(error, sqlite3.DatabaseError):
                    raise self._error(error, timeout) from error
                raise

    def watch(self, key: str) -> None:  # noqa: ARG002
        """See Store.watch: a look at the file is as cheap as a hint."""
        return

    def close(self) -> None:
        """See Store.close."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _transact(
        self,
        connection: sqlite3.Connection,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        deadline: float,
    ) -> Answer:
        _patiently(connection, f"BEGIN {'IMMEDIATE' if puts else 'DEFERRED'}", deadline)
        select = "SELECT key, value, version FROM entry WHERE cluster = ?"
        rows = _patiently(connection, select, deadline, self._cluster)
        # Read first: the file is then held open in the state that was checked.
        snapshot = {key: Entry(value, version) for key, value, version in rows}
        (last,) = connection.execute("SELECT version FROM last").fetchone()
        if self._look() != self._identity:
            raise _Moved
        kept = snapshot.keys() & self._seen.keys()
        old = any(snapshot[key].version < self._seen[key].version for key in kept)
        if old or (snapshot and last < self._last):
            self._empty(connection, deadline)
        self._last, self._seen = last, dict(snapshot)  # without what is put now and may not be done
        done = all(
            (snapshot[key].version if key in snapshot else 0) == version
            for key, version in versions.items()
        )
        if not (done and puts):
            connection.execute("ROLLBACK")
            return Answer(done, snapshot)
        version = self._put(connection, snapshot, puts)
        self._commit(connection)
        self._last, self._seen = version, snapshot
        return Answer(True, snapshot)

    def _empty(self, connection: sqlite3.Connection, deadline: float) -> NoReturn:
        """Forget what a file of the past says; its answer is none."""
        connection.execute("ROLLBACK")
        _patiently(connection, "BEGIN IMMEDIATE", deadline)
        connection.execute("DELETE FROM entry")
        self._commit(connection)
        raise StoreUnknown(
            f"{self._where}: it was put back from a backup: what it forgot is agreed anew",
            fix="stop all agents before a backup is put back",
        )

    def _put(
        self,
        connection: sqlite3.Connection,
        snapshot: dict[str, Entry],
        puts: Mapping[str, bytes | None],
    ) -> int:
        """Make the puts, in the file and in the snapshot alike; return their version."""
        (last,) = connection.execute("SELECT version FROM last").fetchone()
        version: int = max(last + 1, time.time_ns() // 1000)
        connection.execute("UPDATE last SET version = ?", (version,))
        for key, value in puts.items():
            if value is None:
                connection.execute(
                    "DELETE FROM entry WHERE cluster = ? AND key = ?", (self._cluster, key)
                )
                snapshot.pop(key, None)
            else:
                connection.execute(
                    "REPLACE INTO entry VALUES (?, ?, ?, ?)", (self._cluster, key, value, version)
                )
                snapshot[key] = Entry(value, version)
        return version

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise
            raise StoreUnknown(
                f"{self._where}: the end of a write failed ({error}): it may be there or not",
                fix="see what the kernel's log says of this disk",
            ) from error
        if self._look() != self._identity:
            raise StoreUnknown(
                f"{self._where}: the file was replaced while it was written to",
                fix="don't delete or move the file while agents run",
            )

    def _connect(self, deadline: float) -> sqlite3.Connection:
        """Open the file, and make it ours if it is new."""
        before = _inode(self._path)
        if before is None:  # the seed is in it: nobody else's to read, whatever the umask
            with contextlib.suppress(OSError):  # somebody was faster, or SQLite says what is wrong
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # SQLite's own waiting is off: where two make a new file at once it does not even wait.
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        (mode,) = _patiently(connection, "PRAGMA journal_mode = WAL", deadline).fetchone()
        if mode != "wal":
            raise StoreRefused(
                f"{self._where}: this file system can't hold a write-ahead log",
                fix="put the file on a local disk",
            )
        connection.execute("PRAGMA synchronous = NORMAL")
        if _mark(connection, deadline) != _MARK:
            _patiently(connection, "BEGIN IMMEDIATE", deadline)
            self._make(connection, deadline)
            connection.execute("COMMIT")
        self._identity = self._look()
        if before is None or self._identity[0] != before or None in self._identity:
            raise _Moved  # opened, but who knows which; a file just made is opened once more
        return connection

    def _make(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Make our tables, unless somebody was faster; the file is locked by now."""
        if (mark := _mark(connection, deadline)) == _MARK:
            return
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if mark or tables:
            raise StoreCorrupt(
                f"{self._where}: this is a database of another program",
                fix="give the path of a file that is not there yet",
            )
        for statement in _SCHEMA.split(";")[:-1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_MARK}")

    def _look(self) -> _Identity:
        """Return which files are there: database, log and the log's index."""
        return tuple(map(_inode, self._files))

    @property
    def _where(self) -> str:
        return f"store sqlite://{self._path}"

    def _error(self, error: sqlite3.DatabaseError, timeout: float) -> StoreError:
        """Say what SQLite's code means here."""
        code, where, path = _code(error), self._where, self._path
        if code in _BUSY:
            return StoreUnreachable(
                f"{where}: locked by another process for {timeout:g} s",
                fix=f"see who holds it: fuser -v {path}",
            )
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
            return StoreRefused(
                f"{where}: the disk is full, nothing was written", fix=f"see df -h {path.parent}"
            )
        if code == sqlite3.SQLITE_CANTOPEN and not path.parent.is_dir():
            return StoreRefused(
                f"{where}: there is no directory {path.parent}", fix=f"mkdir -p {path.parent}"
            )
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return StoreRefused(
                f"{where}: can't be written to ({error})",
                fix=f"let this user write {path}, its -wal and -shm, and to {path.parent}",
            )
        if code in _BROKEN:
            return StoreCorrupt(
                f"{where}: is no sound SQLite database ({error})",
                fix="stop the agents, move the file away, start them: they make a new one",
            )
        return StoreUnreachable(
            f"{where}: {error}", fix="see what the kernel's log says of this disk"
        )


def _mark(connection: sqlite3.Connection, deadline: float) -> int:
    """Return whose file it is; 0 for a new one."""
    (mark,) = _patiently(connection, "PRAGMA application_id", deadline).fetchone()
    return int(mark)


def _patiently(
    connection: sqlite3.Connection, statement: str, deadline: float, *values: str
) -> sqlite3.Cursor:
    """Execute, and again while the file is locked, until the deadline."""
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - so that waiters disperse


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code."""
    return error.sqlite_errorcode & 0xFF


def _is_full(directory: Path) -> bool:
    """Tell whether there is no room for a log and its index, of which SQLite says "I/O error"."""
    try:
        return shutil.disk_usage(directory).free < 2**17
    except OSError:
        return False


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
