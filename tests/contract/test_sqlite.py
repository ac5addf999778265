"""What can happen to a store in a file."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import Opener
from tests.contract.test_store import WAIT_S, put, read
from vipnft.errors import UsageError
from vipnft.store.contract import StoreCorrupt, StoreRefused, StoreUnknown, StoreUnreachable
from vipnft.store.opening import open_store
from vipnft.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite://{path}".replace(" ", "%20")


def remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://rel/a.db", "sqlite:///a?b"])
def test_a_path_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="absolute path") as raised:
        open_store(url, "c")
    assert "sqlite:///absolute/path" in raised.value.fix


def test_four_slashes_are_as_good_as_three(path: Path, opened: Opener) -> None:
    put(opened(f"sqlite://{path}"), "k", b"a")
    assert read(opened(f"sqlite:///{path}")) == {"k": b"a"}


def test_opening_touches_nothing(path: Path, url: str, opened: Opener) -> None:
    opened(url)
    assert not path.exists()


@pytest.mark.parametrize("grown", [0, 3])
def test_a_file_put_back_from_a_backup_is_emptied(
    path: Path, url: str, opened: Opener, grown: int
) -> None:
    """By whoever knows better: what was agreed on since is forgotten. Also where its versions have
    grown beyond what was known before anybody looked."""
    store, other = opened(url), opened(url)
    put(store, "k", b"old")
    store.close()
    backup = path.read_bytes()
    new = [put(store, "k", b"%d" % number) for number in range(5)][-1]
    store.close()
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(backup)
    assert read(other) == {"k": b"old"}
    for _ in range(grown):
        put(other, "grown", b"since")
    with pytest.raises(StoreUnknown, match="put back from a backup"):
        store.transact({}, {}, timeout=WAIT_S)
    assert read(store) == read(other) == {}
    assert put(other, "k", b"again") > new


def test_a_deleted_file_is_made_anew_and_no_old_version_counts(
    path: Path, url: str, opened: Opener
) -> None:
    stores = [opened(url), opened(url)]
    old = put(stores[0], "k", b"a")
    assert read(stores[1]) == {"k": b"a"}
    remove(path)
    assert read(stores[0]) == {}
    assert not stores[1].transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done
    assert put(stores[1], "k", b"a") > old
    assert not stores[0].transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done
    assert read(stores[0]) == {"k": b"a"}
    stores[1].close()
    assert put(stores[0], "k", b"c")
    assert read(stores[1]) == {"k": b"c"}


def test_who_closes_a_deleted_file_leaves_the_new_one_alone(
    path: Path, url: str, opened: Opener
) -> None:
    """Database and log are known to SQLite by name, and the last one out removes the log."""
    old, new = opened(url), opened(url)
    put(old, "k", b"a")
    remove(path)
    put(new, "k", b"b")
    inodes = [Path(f"{path}{end}").stat().st_ino for end in ("", "-wal", "-shm")]
    old.close()
    assert [Path(f"{path}{end}").stat().st_ino for end in ("", "-wal", "-shm")] == inodes
    assert read(old) == {"k": b"b"}


MAKE = """
import sys
from vipnft.store.opening import open_store
for round in range(40):
    print(flush=True)
    sys.stdin.readline()
    store = open_store(f"{sys.argv[1]}{round}", "c")
    assert store.transact({}, {sys.argv[2]: b"a"}, timeout=60).done
"""


def test_many_make_one_file_at_once(url: str, opened: Opener) -> None:
    """Nobody mistakes a half-made file, nobody's first write goes into a file of its own."""
    names = [f"k{number}" for number in range(8)]
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, url, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for name in names
    ]  # fmt: skip
    for _ in range(40):
        for maker in makers:
            assert maker.stdout
            assert maker.stdout.readline() == "\n"
        for maker in makers:
            assert maker.stdin
            maker.stdin.write("\n")
    for maker in makers:
        maker.communicate()
        assert maker.returncode == 0
    for number in range(40):
        assert sorted(read(opened(f"{url}{number}", "c"))) == names


def test_a_file_put_in_its_place_is_noticed(
    path: Path, url: str, opened: Opener, tmp_path: Path
) -> None:
    store, other = opened(url), opened(f"sqlite://{tmp_path}/other.db")
    old = put(store, "k", b"a")
    put(other, "k", b"b")
    other.close()
    remove(path)
    (tmp_path / "other.db").rename(path)
    assert not store.transact({"k": old}, {"k": b"c"}, timeout=WAIT_S).done
    assert read(store) == {"k": b"b"}


def test_deleted_between_the_check_and_the_commit(
    path: Path, url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(url)
    put(store, "k", b"a")
    commit = SqliteStore._commit

    def late(self: SqliteStore, connection: sqlite3.Connection) -> None:
        remove(path)
        commit(self, connection)

    monkeypatch.setattr(SqliteStore, "_commit", late)
    with pytest.raises(StoreUnknown):
        store.transact({}, {"k": b"b"}, timeout=WAIT_S)
    monkeypatch.undo()
    assert read(store) == {}


def test_versions_grow_though_the_clock_goes_back(
    url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(url)
    versions = []
    for hours in (0, 1, -1, 0):
        now = time.time_ns() + hours * 3600 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        versions += [put(store, "k", b"a"), put(store, "k", b"a")]
        monkeypatch.undo()
    assert versions == sorted(set(versions))


def test_a_missing_directory(tmp_path: Path, opened: Opener) -> None:
    store = opened(f"sqlite://{tmp_path}/no/a.db")
    with pytest.raises(StoreRefused, match=f"no directory {tmp_path}/no") as raised:
        store.transact({}, {}, timeout=WAIT_S)
    assert raised.value.fix == f"mkdir -p {tmp_path}/no"
    (tmp_path / "no").mkdir()
    assert read(store) == {}


def test_a_directory_in_its_place(path: Path, url: str, opened: Opener) -> None:
    path.mkdir()
    with pytest.raises(StoreRefused, match="can't be written"):
        opened(url).transact({}, {}, timeout=WAIT_S)


@contextlib.contextmanager
def as_nobody(*directories: Path) -> Iterator[None]:
    """Go on without root's rights, which no file mode stops."""
    if os.geteuid():
        yield
        return
    for directory in directories:
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_can_only_be_read(path: Path, url: str, opened: Opener) -> None:
    store = opened(url)
    put(store, "k", b"a")
    store.close()
    path.chmod(0o444)
    with as_nobody(*path.parents[:-2]), pytest.raises(StoreRefused, match="can't be written") as r:
        store.transact({}, {"k": b"b"}, timeout=WAIT_S)
    assert str(path) in r.value.fix


def test_a_directory_that_can_only_be_read(path: Path, url: str, opened: Opener) -> None:
    path.parent.chmod(0o555)
    with as_nobody(*path.parents[:-2]), pytest.raises(StoreRefused, match="can't be written"):
        opened(url).transact({}, {}, timeout=WAIT_S)
    path.parent.chmod(0o755)


@pytest.mark.parametrize("size", [10, 100, 5000])
def test_a_file_that_is_no_database(path: Path, url: str, opened: Opener, size: int) -> None:
    path.write_bytes(b"no database " * size)
    with pytest.raises(StoreCorrupt, match="no sound SQLite database") as raised:
        opened(url).transact({}, {}, timeout=WAIT_S)
    assert "move the file away" in raised.value.fix
    assert path.read_bytes() == b"no database " * size


def test_a_database_of_another_program(path: Path, url: str, opened: Opener) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreCorrupt, match="another program"):
        opened(url).transact({}, {}, timeout=WAIT_S)


def test_damage_while_running(path: Path, url: str, opened: Opener) -> None:
    store = opened(url)
    put(store, "k", b"a" * 100_000)
    store.close()  # everything is in the file now
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 30_000)
    with pytest.raises(StoreCorrupt):
        store.transact({}, {}, timeout=WAIT_S)


FULL = """
import subprocess, sys
from pathlib import Path
from vipnft.store.contract import StoreRefused
from vipnft.store.opening import open_store
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", sys.argv[1]], check=True)
ballast = Path(sys.argv[1], "ballast")
for size in range(520, 604, 4):
    ballast.write_bytes(bytes(size * 1024)[:-1])
    new = open_store(f"sqlite://{sys.argv[1]}/new{size}.db", "c")
    try:
        new.transact({}, {"k": b"x"}, timeout=60)
    except StoreRefused as error:
        assert "the disk is full" in str(error), error
    new.close()
    for file in Path(sys.argv[1]).iterdir():
        file.unlink()
store = open_store(f"sqlite://{sys.argv[1]}/a.db", "c")
for number in range(1000):
    try:
        done = store.transact({}, {f"k{number}": b"x" * 5000}, timeout=60)
    except StoreRefused as error:
        assert "the disk is full" in str(error), error
        assert error.fix.startswith("df -h") or "df -h" in error.fix
        break
else:
    raise SystemExit("never full")
assert store.transact({}, {}, timeout=60).snapshot == done.snapshot
subprocess.run(["mount", "-o", "remount,size=5m", "none", sys.argv[1]], check=True)
assert store.transact({}, {"k": b"x" * 5000}, timeout=60).done
"""


def test_a_full_disk(tmp_path: Path) -> None:
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces for this user here")
    run = [*unshare, sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM entry")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_writer_killed_in_a_transaction_is_undone(path: Path, url: str, opened: Opener) -> None:
    store = opened(url)
    put(store, "k", b"a")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(StoreUnreachable, match="locked by another process") as raised:
            store.transact({}, {"k": b"b"}, timeout=0.1)
        assert "fuser" in raised.value.fix
        holder.send_signal(signal.SIGKILL)
    assert read(store) == {"k": b"a"}
    put(store, "k", b"b")


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """The table says how clients are dealt, the seed included."""
    store = open_store(f"sqlite://{tmp_path}/new.db", "c")
    store.transact({}, {"key": b"value"}, timeout=5)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    store.close()
    assert modes["new.db"] == 0o600
    assert set(modes.values()) == {0o600}
