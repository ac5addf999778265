"""What can happen to a store in etcd: answers of all kinds, names, data that is lost."""

import contextlib
import gzip
import http.server
import json
import shutil
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Opener
from tests.contract.etcd_server import Etcd, b64, free_ports
from tests.contract.test_store import WAIT_S, put, read
from vipnft.store.contract import (
    StoreCorrupt,
    StoreError,
    StoreRefused,
    StoreUnknown,
    StoreUnreachable,
)
from vipnft.store.etcd_connection import Connection, Reply

pytestmark = pytest.mark.etcd


_EMPTY = b'{"header": {"revision": "7"}, "succeeded": true, "responses": [{"response_range": {}}]}'


class _Web(http.server.BaseHTTPRequestHandler):
    status, body, missing, encoding = 200, b"", 0, "identity"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Encoding", self.encoding)
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
        (401, b'{"message": "Unauthorized", "code": 401, "kind": "Status"}', StoreUnknown),
        (404, b'{"message": "no such page", "code": 404, "kind": "Status"}', StoreRefused),
    ],
)
def test_answers_of_all_kinds(
    opened: Opener, status: int, body: bytes, error: type[StoreError]
) -> None:
    with served(status=status, body=body) as web, pytest.raises(error) as raised:
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)
    assert raised.value.fix


@pytest.mark.parametrize("said_in", ["error", "message", "both"])
@pytest.mark.parametrize(
    ("status", "words", "code", "error"),
    [
        (503, "etcdserver: request timed out", 14, StoreUnknown),
        (503, "etcdserver: leader changed", 14, StoreUnknown),
        (503, "etcdserver: no leader", 14, StoreUnreachable),
        (500, "something new", 2, StoreUnknown),
        (429, "etcdserver: mvcc: database space exceeded", 8, StoreRefused),
        (400, "etcdserver: too many operations", 3, StoreRefused),
        (400, "etcdserver: user name is empty", 3, StoreRefused),
        (401, "etcdserver: invalid auth token", 16, StoreRefused),
    ],
)
def test_what_etcd_refuses_is_read_in_either_form(
    opened: Opener, status: int, words: str, code: int, error: type[StoreError], said_in: str
) -> None:
    """etcd 3.4.23 gives both, the 3.5.16 of Debian 13 `message` alone."""
    keys = ["error", "message"] if said_in == "both" else [said_in]
    body = json.dumps({"code": code} | dict.fromkeys(keys, words)).encode()
    with served(status=status, body=body) as web, pytest.raises(error) as raised:
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)
    assert raised.value.fix
    assert "no etcd is there" not in str(raised.value)
    assert ("wants a user" in str(raised.value)) is (code == 16 or "user name" in words)


def test_an_answer_without_an_end_is_not_read_to_it(opened: Opener) -> None:
    with (
        served(body=b" " * (17 << 20)) as web,
        pytest.raises(StoreUnknown, match="more than 16 MiB"),
    ):
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)


def test_an_answer_cut_short_is_no_answer(opened: Opener) -> None:
    with served(body=b'{"succeeded": true', missing=1) as web, pytest.raises(StoreUnknown):
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)


def test_nothing_is_unpacked(opened: Opener) -> None:
    """3 MB of gzip were 1 GB of memory: an answer is what it is, or none."""
    body = gzip.compress(b" " * (8 << 20) + _EMPTY)
    with (
        served(body=body, encoding="gzip") as web,
        pytest.raises(StoreRefused, match="without JSON"),
    ):
        opened(web.url).transact({}, {"k": b"x"}, timeout=WAIT_S)


DRIPS = {
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\nX: ",
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
}


@pytest.mark.parametrize("begin", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_costs_the_timeout_once(opened: Opener, begin: bytes) -> None:
    """Byte after byte, each in time; the member is asked again as soon as it is well."""

    asked = []

    def answer(web: _Web) -> None:
        asked.append(web)
        if len(asked) > 1:
            return _Web.do_POST(web)
        with contextlib.suppress(OSError):  # until who asked hangs up
            web.wfile.write(begin)
            while True:
                web.wfile.write(begin if b"100" in begin else b" ")
                time.sleep(0.02)

    with served(do_POST=answer, body=_EMPTY) as web:
        store = opened(web.url)
        with pytest.raises(StoreUnknown, match="no answer within"):
            store.transact({}, {"k": b"x"}, timeout=0.3)
        assert web.ended.acquire(timeout=WAIT_S)
        assert store.transact({}, {"k": b"x"}, timeout=WAIT_S).done


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


@pytest.mark.parametrize("grown", [0, 9])
def test_a_store_put_back_from_a_backup_is_emptied(
    own: Etcd, opened: Opener, tmp_path: Path, grown: int
) -> None:
    """By whoever knows better, once, and by nobody else: what was agreed on since is forgotten.
    Also where its revisions have grown beyond what was known before anybody looked."""
    store, other = opened(own.url), opened(own.url)
    old = put(store, "a", b"old")
    own.kill()
    shutil.copytree(tmp_path / "m0", tmp_path / "backup")
    own.start()
    new = [put(store, "a", b"%d" % number) for number in range(5)][-1]
    own.kill()
    shutil.rmtree(tmp_path / "m0")
    (tmp_path / "backup").rename(tmp_path / "m0")
    own.start()
    assert other.transact({}, {}, timeout=WAIT_S).snapshot["a"].version == old
    for _ in range(grown):
        put(other, "c", b"grown")
    with pytest.raises(StoreUnknown, match="put back from a backup"):
        store.transact({"a": new}, {"b": b"lost"}, timeout=WAIT_S, brief=True)
    assert read(store) == read(other) == {}
    assert put(store, "a", b"again") > new
    assert put(other, "b", b"again") > new


def test_a_beat_is_short_however_many_hosts_there_are(
    etcd: Etcd, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100 others that have all changed since, and a table of 65,536 buckets."""
    sent, got = list[int](), list[int]()
    ask = Connection.ask

    def counting(self: Connection, path: str, body: Any, *more: Any) -> Reply:
        reply = ask(self, path, body, *more)
        sent.append(len(json.dumps(body, separators=(",", ":"))))
        got.append(len(reply.body))
        return reply

    store, other = opened(etcd.url), opened(etcd.url)
    many: dict[str, bytes | None] = {f"host/web{n}": b"x" * 150 for n in range(100)}
    other.transact({}, {"table": b"t" * 500_000}, timeout=WAIT_S)
    other.transact({}, many, timeout=WAIT_S)
    seen = store.transact({}, {"host/me": b"y" * 150}, timeout=WAIT_S).snapshot
    other.transact({}, many, timeout=WAIT_S)
    versions = {key: seen[key].version for key in ("table", "host/me")}
    monkeypatch.setattr(Connection, "ask", counting)
    beat = store.transact(versions, {"host/me": b"z" * 150}, timeout=WAIT_S, brief=True)
    assert beat.done
    assert (len(sent), len(got)) == (1, 1)
    assert max(*sent, *got) < 1000
    look = store.transact({}, {}, timeout=WAIT_S)
    assert got.pop() < 100 * 500, "and a look brings no table that is known"
    assert look.snapshot.keys() == {"table", "host/me", *many}
