"""What can happen to a store in etcd: access, members that die or hang, data that is lost."""

import contextlib
import http.server
import socket
import socketserver
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.certificates import Authority
from tests.contract.conftest import Opener
from tests.contract.etcd_server import Etcd, eventually, free_ports
from tests.contract.test_store import WAIT_S, hinted, put, read
from vipnft.store.contract import (
    Store,
    StoreCorrupt,
    StoreError,
    StoreRefused,
    StoreUnknown,
    StoreUnreachable,
)

pytestmark = pytest.mark.etcd


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd that the test may break."""
    with Etcd(tmp_path) as etcd:
        yield etcd


# Access


def grant(etcd: Etcd, user: str, password: str, prefix: str) -> None:
    """Make a user who may read and write under the prefix."""
    etcd.ask(0, "auth/user/add", {"name": user, "password": password})
    etcd.ask(0, "auth/role/add", {"name": f"{user}s"})
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    etcd.ask(0, "auth/role/grant", {
        "name": f"{user}s",
        "perm": {"permType": "READWRITE", "key": b64(prefix), "range_end": b64(end)},
    })  # fmt: skip
    etcd.ask(0, "auth/user/grant", {"user": user, "role": f"{user}s"})


def enable_authentication(etcd: Etcd) -> None:
    etcd.ask(0, "auth/user/add", {"name": "root", "password": "toor"})
    etcd.ask(0, "auth/user/grant", {"user": "root", "role": "root"})
    etcd.ask(0, "auth/enable", {})


def test_authentication(own: Etcd, opened: Opener, cluster: str) -> None:
    grant(own, "bob", "p@ss:word/", f"/vipnft/{cluster}/")
    hosts = own.url.removeprefix("etcd://")
    store = opened(f"etcd://bob:p%40ss%3Aword%2F@{hosts}")
    version = put(store, "k", b"a")  # who needs no token uses none

    enable_authentication(own)
    assert store.transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done

    own.kill()  # and with it go all tokens
    own.start()
    version = put(store, "k", b"c")

    def refused(url: str, *told: str, name: str = cluster) -> None:
        with pytest.raises(StoreRefused) as raised:
            opened(url, name).transact({}, {"k": b"x"}, timeout=WAIT_S)
        for text in told:
            assert text in f"{raised.value} {raised.value.fix}"
        assert "guess" not in f"{raised.value} {raised.value.fix}"

    refused(f"etcd://bob:guess@{hosts}", "invalid user ID or password", "percent-encode", "bob@")
    refused(f"etcd://nobody:guess@{hosts}", "invalid user ID or password")
    refused(f"etcd://{hosts}", "wants a user", "etcd://USER:PASSWORD@HOST")
    refused(store_url := f"etcd://bob:p%40ss%3Aword%2F@{hosts}", "grant-permission", name="other")
    assert read(opened(store_url)) == {"k": b"c"}

    fd = store.watch("k")
    assert fd is not None
    assert hinted(fd)
    version = put(store, "k", b"c")
    assert hinted(fd), "not told under authentication"

    token = own.ask(0, "auth/authenticate", {"name": "root", "password": "toor"})["token"]
    own.ask(0, "auth/user/changepw", {"name": "bob", "password": "new"}, token)
    with pytest.raises(StoreRefused, match="invalid user ID or password"):
        store.transact({}, {"k": b"x"}, timeout=WAIT_S)
    assert read(opened(f"etcd://bob:new@{hosts}")) == {"k": b"c"}

    own.ask(0, "auth/disable", {}, token)
    assert store.transact({"k": version}, {"k": b"d"}, timeout=WAIT_S).done


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Etcd, Path]]:
    """An etcd that talks only to who has a certificate of its CA."""
    home = tmp_path_factory.mktemp("tls")
    good, bad = Authority(home, "good").create(), Authority(home, "bad").create()
    good.issue("server")
    good.issue("client", subject="/CN=agent")
    bad.issue("stranger", subject="/CN=agent")
    options = f"cert-file={home}/server.pem key-file={home}/server.key client-cert-auth=true "
    with Etcd(home, scheme="https", extra=f"{options} trusted-ca-file={good.ca}") as etcd:
        yield etcd, home


def test_tls_with_a_client_certificate(tls: tuple[Etcd, Path], opened: Opener) -> None:
    etcd, home = tls
    store = opened(f"{etcd.url}?ca={home}/good.pem&cert={home}/client.pem&key={home}/client.key")
    version = put(store, "k", b"a")
    assert store.transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done
    assert read(store) == {"k": b"b"}
    fd = store.watch("k")
    assert fd is not None
    assert hinted(fd)
    put(store, "k", b"c")
    assert hinted(fd)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?ca={home}/bad.pem&cert={home}/client.pem&key={home}/client.key", "ca="),
        ("?ca={home}/good.pem&cert={home}/stranger.pem&key={home}/stranger.key", "cert="),
        ("?ca={home}/good.pem", "cert="),
        ("", "?ca=FILE"),
    ],
)
@pytest.mark.parametrize("puts", [{}, {"k": b"x"}])
def test_a_wrong_certificate(
    tls: tuple[Etcd, Path], opened: Opener, query: str, told: str, puts: dict[str, bytes | None]
) -> None:
    etcd, home = tls
    for _ in range(5):
        with pytest.raises(StoreRefused) as raised:
            opened(etcd.url + query.format(home=home)).transact({}, puts, timeout=WAIT_S)
        assert told in raised.value.fix


def test_another_name_than_the_certificate_has(tls: tuple[Etcd, Path], opened: Opener) -> None:
    etcd, home = tls
    url = etcd.url.replace("127.0.0.1", "localhost")
    query = f"?ca={home}/good.pem&cert={home}/client.pem&key={home}/client.key"
    with pytest.raises(StoreRefused, match="localhost") as raised:
        opened(url + query).transact({}, {}, timeout=WAIT_S)
    assert "names this host" in raised.value.fix


def test_tls_where_there_is_none(etcd: Etcd, tls: tuple[Etcd, Path], opened: Opener) -> None:
    with pytest.raises(StoreRefused) as raised:
        opened(f"{etcd.url}?ca={tls[1]}/good.pem").transact({}, {"k": b"x"}, timeout=WAIT_S)
    assert "does not speak TLS" in str(raised.value)
    assert "take ca= out" in raised.value.fix


_EMPTY = b'{"succeeded": true, "responses": [{"response_range": {}}]}'


class _Web(http.server.BaseHTTPRequestHandler):
    status, body, missing = 200, b"", 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body) + self.missing))
        self.end_headers()
        with contextlib.suppress(OSError):  # who has read enough hangs up
            self.wfile.write(self.body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.TCPServer):
    """Serves one connection after the other, and counts those that it has ended."""

    def __init__(self, handler: type[_Web]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"etcd://127.0.0.1:{self.server_address[1]}"
        self.ended = threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended.release()


@contextlib.contextmanager
def served(**web: Any) -> Iterator[_Server]:
    """Give a server that answers so."""
    with _Server(type("Web", (_Web,), web)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>welcome", StoreRefused),
        (404, b"no such page", StoreRefused),
        (200, b"{}", StoreCorrupt),
        (502, b"proxy: bad", StoreUnknown),
        (503, b'{"error": "etcdserver: request timed out", "code": 14}', StoreUnknown),
        (503, b'{"error": "etcdserver: leader changed", "code": 14}', StoreUnknown),
        (503, b'{"error": "etcdserver: no leader", "code": 14}', StoreUnreachable),
        (500, b'{"error": "something new", "code": 2}', StoreUnknown),
        (429, b'{"error": "etcdserver: mvcc: database space exceeded", "code": 8}', StoreRefused),
        (400, b'{"error": "etcdserver: too many operations", "code": 3}', StoreRefused),
        (401, b'{"error": "etcdserver: invalid auth token", "code": 16}', StoreRefused),
    ],
)
def test_answers_of_all_kinds(
    opened: Opener, status: int, body: bytes, error: type[StoreError]
) -> None:
    with served(status=status, body=body) as web, pytest.raises(error) as raised:
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)
    assert raised.value.fix


def test_an_answer_without_an_end_is_not_read_to_it(opened: Opener) -> None:
    with (
        served(body=b" " * (17 << 20)) as web,
        pytest.raises(StoreUnknown, match="more than 16 MiB"),
    ):
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)


def test_an_answer_cut_short_is_no_answer(opened: Opener) -> None:
    with served(body=b'{"succeeded": true', missing=1) as web, pytest.raises(StoreUnknown):
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)


def test_a_kept_connection_that_was_ended_meanwhile_leaves_no_doubt(opened: Opener) -> None:
    """etcd started anew, or a proxy that ends idle connections."""
    with served(body=_EMPTY, protocol_version="HTTP/1.1") as web:
        store = opened(web.url)
        for _ in range(3):
            assert store.transact({}, {"k": b"x"}, timeout=WAIT_S).done
            assert web.ended.acquire(timeout=WAIT_S)


def test_the_environment_s_proxies_are_not_for_us(
    etcd: Etcd, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    put(opened(etcd.url), "k", b"a")


# Names and connections that hang


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port that answers no connection attempt: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("puts", [{}, {"k": b"x"}])
def test_no_connection_is_not_unknown(opened: Opener, puts: dict[str, bytes | None]) -> None:
    with black_hole() as port:
        began = time.monotonic()
        with pytest.raises(StoreUnreachable, match="no connection in time"):
            opened(f"etcd://127.0.0.1:{port}").transact({}, puts, timeout=0.3)
        assert 0.25 < time.monotonic() - began < 10 * 0.3


def test_a_member_that_takes_no_connection_costs_its_share_once(etcd: Etcd, opened: Opener) -> None:
    with black_hole() as port:
        store = opened(f"etcd://127.0.0.1:{port},{etcd.url.removeprefix('etcd://')}")
        began = time.monotonic()
        assert store.transact({}, {"k": b"a"}, timeout=4).done
        first, began = time.monotonic() - began, time.monotonic()
        for _ in range(5):
            assert store.transact({}, {"k": b"a"}, timeout=4).done
        assert first > 1.9
        assert time.monotonic() - began < 1.9, "its share was paid again"


def test_a_name_that_is_none(opened: Opener) -> None:
    with pytest.raises(StoreUnreachable, match=r"no-such-host\.invalid"):
        opened("etcd://no-such-host.invalid").transact({}, {"k": b"x"}, timeout=WAIT_S)


def test_a_name_server_that_hangs(
    etcd: Etcd, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, go_on = socket.getaddrinfo, threading.Event()

    def hang(host: str, *rest: Any, **more: Any) -> object:
        if host == "slow":
            go_on.wait()
            host = "127.0.0.1"
        return lookup(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    port = etcd.ports[0]
    alone, pair = opened(f"etcd://slow:{port}"), opened(f"etcd://slow:{port},127.0.0.1:{port}")
    threads = threading.active_count()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises((StoreUnreachable, StoreUnknown)):
            alone.transact({}, {"k": b"x"}, timeout=0.2)
        assert time.monotonic() - began < 10 * 0.2
    assert threading.active_count() <= threads + 1
    assert pair.transact({}, {}, timeout=4).done
    assert pair.transact({}, {"k": b"a"}, timeout=4).done
    go_on.set()
    put(alone, "k", b"b")


def test_nobody_listens(opened: Opener) -> None:
    ports = free_ports(2)
    with pytest.raises(StoreUnreachable, match=r"(?s)refused.*refused") as raised:
        opened(f"etcd://u:guess@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}").transact(
            {}, {"k": b"x"}, timeout=WAIT_S
        )
    assert "guess" not in str(raised.value)


# Data


def test_a_read_writes_nothing(own: Etcd, opened: Opener) -> None:
    def revision() -> str:
        return str(own.ask(0, "kv/range", {"key": b64("x")})["header"]["revision"])

    store, before = opened(own.url), revision()
    assert store.transact({"k": 0}, {}, timeout=WAIT_S).done
    assert not store.transact({"k": 5}, {"k": b"a"}, timeout=WAIT_S).done
    assert revision() == before


def test_no_version_of_a_store_that_lost_its_data_counts(own: Etcd, opened: Opener) -> None:
    """The revision of the new key is that of the old one, and etcd's identity too."""
    late, new = opened(own.url), opened(own.url)
    old = put(late, "k", b"a")
    own.kill()
    own.wipe()
    own.start()
    version = put(new, "k", b"other")
    kv = own.ask(0, "kv/range", {"key": b64("/vipnft/"), "range_end": b64("/vipnft0")})["kvs"]
    assert {each["mod_revision"] for each in kv} == {"2"}
    assert not late.transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done
    assert not opened(own.url).transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done
    assert version > old
    assert late.transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done


def test_an_empty_store_can_be_written_by_who_knew_the_old_one(own: Etcd, opened: Opener) -> None:
    store = opened(own.url)
    old = put(store, "k", b"a")
    own.kill()
    own.wipe()
    own.start()
    answer = store.transact({"k": 0}, {"k": b"b"}, timeout=WAIT_S)
    assert answer.done
    assert answer.snapshot["k"].version > old


def test_keys_deleted_by_hand(own: Etcd, opened: Opener, cluster: str) -> None:
    stores = [opened(own.url), opened(own.url)]
    old = put(stores[0], "k", b"a")
    assert read(stores[1]) == {"k": b"a"}
    own.ask(0, "kv/deleterange", {"key": b64(f"/vipnft/{cluster}/.epoch")})
    version = stores[0].transact({}, {}, timeout=WAIT_S).snapshot["k"].version
    assert not stores[1].transact({"k": old}, {"k": b"b"}, timeout=WAIT_S).done
    assert stores[1].transact({"k": version}, {"k": b"b"}, timeout=WAIT_S).done
    own.ask(0, "kv/deleterange", {"key": b64("/vipnft/"), "range_end": b64("/vipnft0")})
    assert read(stores[0]) == {}
    assert put(stores[1], "k", b"c") > old


def test_an_epoch_that_is_no_number(etcd: Etcd, opened: Opener, cluster: str) -> None:
    etcd.ask(0, "kv/put", {"key": b64(f"/vipnft/{cluster}/.epoch"), "value": b64("x")})
    with pytest.raises(StoreCorrupt) as raised:
        opened(etcd.url).transact({}, {}, timeout=WAIT_S)
    assert f"etcdctl del --prefix /vipnft/{cluster}/" in raised.value.fix


# A cluster of three


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
