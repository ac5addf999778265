"""What every store must do."""

import multiprocessing
import os
import random
import select
import threading
import time
from typing import cast

import pytest

from tests.contract.conftest import Backend, Opener
from vipnft.store.contract import Answer, Store, StoreUnreachable
from vipnft.store.opening import open_store

WAIT_S = 60.0
"""A timeout that should never be needed."""


def read(store: Store) -> dict[str, bytes]:
    snapshot = store.transact({}, {}, timeout=WAIT_S).snapshot
    return {key: entry.value for key, entry in snapshot.items()}


def put(store: Store, key: str, value: bytes | None) -> int:
    """Put unconditionally; return the new version."""
    answer = store.transact({}, {key: value}, timeout=WAIT_S)
    assert answer.done
    return answer.snapshot[key].version if value is not None else 0


def test_an_untouched_store_is_empty(store: Store) -> None:
    assert store.transact({}, {}, timeout=WAIT_S) == Answer(True, {})


def test_first_writer_wins_and_second_loses(store: Store) -> None:
    won = store.transact({"k": 0}, {"k": b"a"}, timeout=WAIT_S)
    lost = store.transact({"k": 0}, {"k": b"b"}, timeout=WAIT_S)
    assert won.done
    assert not lost.done
    assert won.snapshot == lost.snapshot
    assert read(store) == {"k": b"a"}


def test_the_snapshot_is_what_a_read_right_after_returns(store: Store) -> None:
    put(store, "other", b"o")
    answer = store.transact({"k": 0}, {"k": b"a", "l": b"b", "other": None}, timeout=WAIT_S)
    assert store.transact({}, {}, timeout=WAIT_S).snapshot == answer.snapshot
    assert {key: entry.value for key, entry in answer.snapshot.items()} == {"k": b"a", "l": b"b"}


def test_all_conditions_must_hold(store: Store) -> None:
    k, m = put(store, "k", b"1"), put(store, "m", b"1")
    before = store.transact({}, {}, timeout=WAIT_S).snapshot
    for versions in ({"k": k, "m": m + 1}, {"k": 0, "m": m}, {"k": k, "absent": m}):
        answer = store.transact(versions, {"k": b"2", "new": b"x", "m": None}, timeout=WAIT_S)
        assert answer == Answer(False, before)
    assert store.transact({"k": k, "m": m, "absent": 0}, {"k": b"2"}, timeout=WAIT_S).done


def test_conditions_of_a_read_are_checked(store: Store) -> None:
    version = put(store, "k", b"1")
    assert store.transact({"k": version, "absent": 0}, {}, timeout=WAIT_S).done
    assert not store.transact({"k": version - 1}, {}, timeout=WAIT_S).done
    assert not store.transact({"k": 0}, {}, timeout=WAIT_S).done


def test_a_condition_on_one_key_guards_a_put_to_another(store: Store) -> None:
    table = put(store, "table", b"1")
    assert store.transact({"table": table}, {"beat": b"1"}, timeout=WAIT_S).done
    put(store, "table", b"2")
    assert not store.transact({"table": table}, {"beat": b"2"}, timeout=WAIT_S).done
    assert read(store)["beat"] == b"1"


def test_delete(store: Store) -> None:
    version = put(store, "k", b"a")
    assert not store.transact({"k": version + 1}, {"k": None}, timeout=WAIT_S).done
    assert store.transact({"k": version}, {"k": None}, timeout=WAIT_S) == Answer(True, {})
    assert store.transact({}, {"k": None, "never": None}, timeout=WAIT_S) == Answer(True, {})


def test_versions_grow_and_never_repeat(store: Store) -> None:
    seen = [0]
    for turn in range(30):
        if turn % 3 == 2:
            put(store, "k", None)
        else:
            seen.append(put(store, "k", b"same"))
    assert seen == sorted(set(seen))


def test_a_version_of_before_a_delete_does_not_count(store: Store) -> None:
    old = put(store, "k", b"a")
    put(store, "k", None)
    put(store, "k", b"a")
    assert not store.transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done


def test_values_and_keys_are_kept_to_the_byte(store: Store) -> None:
    values = {
        "all": bytes(range(256)),
        "empty": b"",
        "large": random.Random(1).randbytes(200_000),
        "host/a.b-c_d": b"\0",
        "clé ☃": "clé ☃".encode(),
    }
    answer = store.transact({}, values, timeout=WAIT_S)
    assert {key: entry.value for key, entry in answer.snapshot.items()} == values
    assert read(store) == values
    assert all(answer.snapshot.values())
    assert store.transact({"empty": answer.snapshot["empty"].version}, {}, timeout=WAIT_S).done


def test_clusters_do_not_see_each_other(backend: Backend, opened: Opener, cluster: str) -> None:
    names = [cluster, f"{cluster}0", f"{cluster}/x", f"{cluster}."]
    stores = [opened(backend.url, name) for name in names]
    for number, store in enumerate(stores):
        assert store.transact({"k": 0}, {"k": b"%d" % number}, timeout=WAIT_S).done
    assert [read(store) for store in stores] == [{"k": b"%d" % n} for n in range(len(names))]


def test_an_object_that_has_seen_nothing_may_use_versions_of_another(
    backend: Backend, opened: Opener
) -> None:
    version = put(opened(backend.url), "k", b"a")
    assert not opened(backend.url).transact({"k": version + 1}, {"k": b"b"}, timeout=WAIT_S).done
    assert opened(backend.url).transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done
    assert not opened(backend.url).transact({"k": version}, {"k": b"c"}, timeout=WAIT_S).done


def test_works_on_after_close_and_in_another_thread(store: Store) -> None:
    put(store, "k", b"a")
    store.close()
    assert read(store) == {"k": b"a"}
    thread = threading.Thread(target=put, args=(store, "k", b"b"))
    thread.start()
    thread.join()
    assert read(store) == {"k": b"b"}


def test_it_does_as_a_dictionary_would(backend: Backend, opened: Opener) -> None:
    """Random transactions through two objects, against a model."""
    dice = random.Random(4)
    stores = [opened(backend.url), opened(backend.url)]
    values: dict[str, bytes] = {}
    versions: dict[str, int] = {}
    for _ in range(300):
        keys = dice.sample("abcd", dice.randrange(4))
        conditions = {k: versions.get(k, 0) - (dice.random() < 0.15) for k in keys}
        puts = {
            k: dice.choice([None, b"", b"x", b"y"]) for k in dice.sample("abcd", dice.randrange(4))
        }
        done, snapshot = dice.choice(stores).transact(conditions, puts, timeout=WAIT_S)
        assert done == all(versions.get(k, 0) == v for k, v in conditions.items())
        if done:
            values |= {k: v for k, v in puts.items() if v is not None}
            for key in (k for k, v in puts.items() if v is None):
                values.pop(key, None)
        assert {key: entry.value for key, entry in snapshot.items()} == values
        for key, entry in snapshot.items():
            unchanged = not done or key not in puts
            assert (entry.version == versions.get(key)) is unchanged
        versions = {key: entry.version for key, entry in snapshot.items()}


def test_a_reader_sees_one_moment(backend: Backend, opened: Opener) -> None:
    stores = [opened(backend.url) for _ in range(3)]
    assert stores[0].transact({}, {"a": b"0", "b": b"0"}, timeout=WAIT_S).done
    stop = threading.Event()

    def increment(store: Store) -> None:
        snapshot = store.transact({}, {}, timeout=WAIT_S).snapshot
        while not stop.is_set():
            value = b"%d" % (int(snapshot["a"].value) + 1)
            versions = {key: snapshot[key].version for key in "ab"}
            snapshot = store.transact(versions, {"a": value, "b": value}, timeout=WAIT_S).snapshot

    writers = [threading.Thread(target=increment, args=(each,)) for each in stores[1:]]
    for writer in writers:
        writer.start()
    try:
        seen: set[bytes] = set()
        while len(seen) < 20:
            view = read(stores[0])
            assert view["a"] == view["b"]
            seen.add(view["a"])
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def count(url: str, cluster: str, times: int) -> None:
    """Add one to the key "n" so many times, by compare-and-set."""
    store = open_store(url, cluster)
    snapshot = store.transact({}, {}, timeout=WAIT_S).snapshot
    while times:
        value, version = snapshot.get("n", (b"0", 0))
        puts = {"n": b"%d" % (int(value) + 1)}
        done, snapshot = store.transact({"n": version}, puts, timeout=WAIT_S)
        times -= done
    store.close()


@pytest.mark.parametrize(("kind", "times"), [("processes", 200), ("threads", 50)])
def test_no_update_is_lost(
    backend: Backend, store: Store, cluster: str, kind: str, times: int
) -> None:
    """Eight at once, from before there is a store."""
    start = multiprocessing.get_context("spawn").Process if kind == "processes" else None
    workers = [
        (start or threading.Thread)(target=count, args=(backend.url, cluster, times))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert not getattr(worker, "exitcode", 0)
    assert read(store) == {"n": b"%d" % (8 * times)}


@pytest.mark.parametrize("timeout", [0.1, 0.6])
def test_a_store_that_hangs_costs_the_timeout(
    backend: Backend, store: Store, timeout: float
) -> None:
    version = put(store, "k", b"a")
    with backend.hang():
        began = time.monotonic()
        with pytest.raises(backend.hung_write) as raised:
            # On a condition, or it may be done as late as after the next one.
            store.transact({"k": version}, {"k": b"b"}, timeout=timeout)
        assert timeout - 0.05 < time.monotonic() - began < 10 * timeout
    assert raised.value.fix
    assert backend.url in str(raised.value)
    put(store, "k", b"c")
    assert read(store) == {"k": b"c"}


def test_reads_do_not_become_unknown(backend: Backend, store: Store) -> None:
    put(store, "k", b"a")
    with backend.hang():
        began = time.monotonic()
        try:
            assert store.transact({}, {}, timeout=0.2).done
        except StoreUnreachable:
            assert time.monotonic() - began < 10 * 0.2
    assert read(store) == {"k": b"a"}


def test_a_store_that_hangs_from_the_start(backend: Backend, store: Store, opened: Opener) -> None:
    put(store, "k", b"a")
    with backend.hang():
        new = opened(backend.url)
        with pytest.raises(backend.hung_write):
            new.transact({"j": 0}, {"j": b"b"}, timeout=0.2)
    assert read(new)["k"] == b"a"


def test_a_store_that_goes_and_comes_back(backend: Backend, store: Store) -> None:
    version = put(store, "k", b"a")
    with backend.vanish():
        for puts in ({}, {"k": cast("bytes | None", b"b")}):
            began = time.monotonic()
            with pytest.raises(backend.gone) as raised:
                store.transact({}, puts, timeout=WAIT_S)
            assert raised.value.fix
            assert time.monotonic() - began < WAIT_S / 2, "it waited, and for nothing"
    assert store.transact({"k": version}, {"k": b"c"}, timeout=WAIT_S).done
    assert read(store) == {"k": b"c"}


def hinted(fd: int) -> bool:
    """Wait for a hint, and take it."""
    if not select.select([fd], [], [], WAIT_S)[0]:
        return False
    os.eventfd_read(fd)
    return True


def test_who_watches_a_key_is_told(backend: Backend, store: Store, opened: Opener) -> None:
    """At once, by another's hand, and again after the store was away; or nobody tells at all."""
    put(store, "k", b"a")
    watcher = opened(backend.url)
    fd = watcher.watch("k")
    if fd is None:
        assert backend.url.startswith("sqlite:")
        return
    assert hinted(fd), "not even that it watches by now"
    for _ in range(3):
        put(store, "k", b"b")
        assert hinted(fd)
    put(store, "other", b"c")
    assert not select.select([fd], [], [], 0.2)[0], "that was another key"
    with backend.vanish():
        pass
    assert hinted(fd)
    put(store, "k", b"d")
    assert hinted(fd)
    watcher.close()
    assert "etcd watch" not in {thread.name for thread in threading.enumerate()}


def test_what_is_known_already_is_never_taken_for_what_is_there(
    backend: Backend, opened: Opener
) -> None:
    """Two who write and delete in turn, see after each step what one sees who knows nothing."""
    chance, stores = random.Random(7), [opened(backend.url), opened(backend.url)]
    for step in range(150):
        store, key = chance.choice(stores), f"k{chance.randrange(5)}"
        value = None if chance.random() < 0.4 else f"{step}".encode()
        seen = store.transact({}, {}, timeout=WAIT_S).snapshot
        version = seen[key].version if key in seen else 0
        guard = {key: version} if chance.random() < 0.7 else {key: version + 1}
        answer = store.transact(guard, {key: value}, timeout=WAIT_S, brief=chance.random() < 0.5)
        assert answer.done == (guard[key] == version)
        fresh = opened(backend.url).transact({}, {}, timeout=WAIT_S).snapshot
        assert answer.snapshot == fresh
        assert chance.choice(stores).transact({}, {}, timeout=WAIT_S).snapshot == fresh


def test_a_brief_answer_has_what_it_names_and_may_be_late_with_the_rest(
    backend: Backend, opened: Opener
) -> None:
    mine, other = opened(backend.url), opened(backend.url)
    put(other, "other", b"1")
    table = put(other, "table", b"1")
    before = put(mine, "mine", b"1")
    put(other, "other", b"2")
    beat = mine.transact(
        {"table": table, "mine": before}, {"mine": b"2"}, timeout=WAIT_S, brief=True
    )
    assert beat.done
    assert (beat.snapshot["mine"].value, beat.snapshot["table"].value) == (b"2", b"1")
    assert beat.snapshot["other"].value in {b"1", b"2"}
    changed = put(other, "table", b"2")
    late = mine.transact(
        {"table": table, "mine": beat.snapshot["mine"].version},
        {"mine": b"3"},
        timeout=WAIT_S,
        brief=True,
    )
    assert not late.done
    assert late.snapshot["table"] == (b"2", changed)
    assert late.snapshot["mine"] == beat.snapshot["mine"]
    put(other, "table", None)
    gone = mine.transact({"table": changed}, {"mine": b"4"}, timeout=WAIT_S, brief=True)
    assert not gone.done
    assert "table" not in gone.snapshot
    assert read(mine) == {"mine": b"2", "other": b"2"}
