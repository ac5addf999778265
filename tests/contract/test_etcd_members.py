"""An etcd of three, whose members die or hang."""

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.contract.conftest import Opener
from tests.contract.etcd_server import Etcd, eventually
from tests.contract.test_store import WAIT_S, put, read
from vipnft.store.contract import (
    Store,
    StoreUnknown,
    StoreUnreachable,
)

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("three"), 3) as etcd:
        yield etcd


@pytest.fixture
def trio(three: Etcd) -> Etcd:
    """The cluster of three, all members alive."""
    if dead := set(range(3)) - set(three.processes):
        three.start(*dead)
    three.leader()
    return three


def ordered(etcd: Etcd, first: int) -> str:
    """Return the cluster's URL, with this member first."""
    ports = etcd.ports[first:] + etcd.ports[:first]
    return "etcd://" + ",".join(f"127.0.0.1:{port}" for port in ports)


def add(store: Store, seconds: float, *, until: int) -> tuple[int, int, float]:
    """Count up until so many were done in a row; return done, unknown and the longest gap."""
    done = unknown = row = 0
    end = last = time.monotonic()
    end += seconds
    gap = 0.0
    while row < until:
        assert time.monotonic() < end
        try:
            value, version = store.transact({}, {}, timeout=0.3).snapshot.get("n", (b"0", 0))
            puts = {"n": b"%d" % (int(value) + 1)}
            assert store.transact({"n": version}, puts, timeout=0.3).done or unknown
        except StoreUnknown:
            unknown, row = unknown + 1, 0
        except StoreUnreachable:
            row = 0
        else:
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            done, row = done + 1, row + 1
    return done, unknown, gap


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_member_that_does_not_lead(trio: Etcd, opened: Opener, how: str) -> None:
    follower = (trio.leader() + 1) % 3
    store = opened(ordered(trio, follower))
    put(store, "k", b"a")
    with contextlib.ExitStack() as stack:
        if how == "kill":
            trio.kill(follower)
        else:
            stack.enter_context(trio.stopped(follower))
        errors = waits = 0
        for number in range(50):
            began = time.monotonic()
            try:
                assert store.transact({}, {"k": b"%d" % number}, timeout=3).done
            except (StoreUnknown, StoreUnreachable):
                errors += 1
            waits += time.monotonic() - began > 0.9  # of 3 s each member has a third
        assert errors <= 1
        assert waits <= 1, "it was asked again"
        assert read(store) == {"k": b"49"}


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_the_leader(trio: Etcd, opened: Opener, how: str, asked: str) -> None:
    leader = trio.leader()
    store = opened(ordered(trio, (leader + (asked == "follower")) % 3))
    add(store, 60, until=5)
    before = int(read(store)["n"])
    with contextlib.ExitStack() as stack:
        if how == "kill":
            trio.kill(leader)
        else:
            stack.enter_context(trio.stopped(leader))
        done, unknown, gap = add(store, 60, until=20)
    assert before + done <= int(read(store)["n"]) <= before + done + unknown
    assert gap < 10


def test_all_three_die_and_return(trio: Etcd, opened: Opener) -> None:
    store = opened(trio.url)
    version = put(store, "k", b"a")
    trio.kill()
    for puts in ({}, {"k": b"x"}):
        with pytest.raises(StoreUnreachable):
            store.transact({}, puts, timeout=WAIT_S)
    trio.start()
    assert store.transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done


def test_one_of_three_alone_neither_writes_nor_reads(trio: Etcd, opened: Opener) -> None:
    """Reads are linearizable: who is cut off from the others does not tell old tales."""
    store = opened(trio.url)
    put(store, "k", b"a")
    trio.kill(1, 2)
    with pytest.raises(StoreUnreachable):
        store.transact({}, {}, timeout=0.6)
    with pytest.raises((StoreUnknown, StoreUnreachable)):
        store.transact({}, {"k": b"x"}, timeout=0.6)
    trio.start(1, 2)
    trio.leader()
    assert read(store)["k"] in (b"a", b"x")


def test_no_update_is_lost_while_members_die(trio: Etcd, opened: Opener) -> None:
    """Four count up, each member is killed and started in turn; in the end it adds up."""
    results: list[tuple[int, int]] = []
    stop, store = threading.Event(), opened(trio.url)

    def counted() -> int:
        try:
            return int(read(store)["n"])
        except (StoreUnreachable, KeyError):
            return 0

    def beyond(count: int) -> bool:
        return counted() > count

    def work(store: Store) -> None:
        done = unknown = 0
        while not stop.is_set():
            try:
                value, version = store.transact({}, {}, timeout=0.5).snapshot.get("n", (b"0", 0))
                puts = {"n": b"%d" % (int(value) + 1)}
                done += store.transact({"n": version}, puts, timeout=0.5).done
            except StoreUnknown:
                unknown += 1
            except StoreUnreachable:
                pass
        results.append((done, unknown))

    workers = [
        threading.Thread(target=work, args=(opened(ordered(trio, n % 3)),)) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    try:
        for number in range(3):
            trio.kill(number)
            trio.start(number)
            eventually(partial(beyond, counted() + 20))
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    total, doubtful = sum(done for done, _ in results), sum(unknown for _, unknown in results)
    assert total <= int(read(store)["n"]) <= total + doubtful
    assert total > 40
