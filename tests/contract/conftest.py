"""The stores that the contract is tested on."""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol

import pytest

from tests.contract.etcd_server import Etcd
from vipnft.store.contract import Store, StoreError, StoreRefused, StoreUnknown, StoreUnreachable
from vipnft.store.opening import open_store


class Backend(Protocol):
    """A store that can be made to fail, and what it then says."""

    url: str
    hung_write: ClassVar[type[StoreError]]
    gone: ClassVar[type[StoreError]]

    def hang(self) -> contextlib.AbstractContextManager[None]:
        """Let nobody's write through, without an answer."""

    def vanish(self) -> contextlib.AbstractContextManager[None]:
        """Be away, and come back with what was there."""


class SqliteFile:
    hung_write: ClassVar[type[StoreError]] = StoreUnreachable
    gone: ClassVar[type[StoreError]] = StoreRefused

    def __init__(self, home: Path) -> None:
        self.path = home / "store" / "vipnft.db"
        self.path.parent.mkdir()
        self.url = f"sqlite://{self.path}"

    @contextlib.contextmanager
    def hang(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    @contextlib.contextmanager
    def vanish(self) -> Iterator[None]:
        away = self.path.parent.with_name("away")
        self.path.parent.rename(away)
        yield
        away.rename(self.path.parent)


class EtcdServer:
    hung_write: ClassVar[type[StoreError]] = StoreUnknown
    gone: ClassVar[type[StoreError]] = StoreUnreachable

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd
        self.url = etcd.url
        self.hang = etcd.stopped

    @contextlib.contextmanager
    def vanish(self) -> Iterator[None]:
        self.etcd.kill()
        yield
        self.etcd.start()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """One etcd, shared: each test has a cluster name of its own."""
    with Etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteFile(tmp_path)
    return EtcdServer(request.getfixturevalue("etcd"))


_NUMBER = itertools.count()


@pytest.fixture
def cluster() -> str:
    """Return a cluster name that no other test uses."""
    return f"c{next(_NUMBER)}"


Opener = Callable[..., Store]


@pytest.fixture
def opened(cluster: str) -> Iterator[Opener]:
    """Return open_store for this test's cluster; what it opened is closed in the end."""
    with contextlib.ExitStack() as stack:

        def opener(url: str, name: str = cluster) -> Store:
            return stack.enter_context(contextlib.closing(open_store(url, name)))

        yield opener


@pytest.fixture
def store(backend: Backend, opened: Opener) -> Store:
    return opened(backend.url)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd that the test may break."""
    with Etcd(tmp_path) as etcd:
        yield etcd
