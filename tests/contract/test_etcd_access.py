"""Who may into a store in etcd: users, certificates, names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.certificates import Authority
from tests.contract.conftest import Opener
from tests.contract.etcd_server import Etcd, b64
from tests.contract.test_store import WAIT_S, hinted, put, read
from vipnft.store.contract import (
    StoreRefused,
)

pytestmark = pytest.mark.etcd


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
    refused(f"etcd://{hosts}", "wants a user", "etcd://USER@HOST")
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


def test_a_role_of_one_hosts_keys_is_enough(own: Etcd, opened: Opener, cluster: str) -> None:
    """As docs/agents.md has it: who has a host's password can neither fill the store nor beat in
    another's place."""
    prefix = f"/vipnft/{cluster}/"
    grant(own, "web1", "x", f"{prefix}.epoch")
    every = {"key": b64(prefix), "range_end": b64(f"{prefix[:-1]}0")}
    perms = [{"permType": "READ", **every}]
    perms += [{"permType": "READWRITE", "key": b64(prefix + k)} for k in ("table", "host/web1")]
    for perm in perms:
        own.ask(0, "auth/role/grant", {"name": "web1s", "perm": perm})
    enable_authentication(own)
    store = opened(f"etcd://web1:x@{own.url.removeprefix('etcd://')}")
    done = store.transact({}, {"host/web1": b"1", "table": b"{}"}, timeout=WAIT_S)
    assert set(done.snapshot) == {"host/web1", "table"}
    for key in ("host/web2", "host/web1/x", "order/web1", "junk"):
        with pytest.raises(StoreRefused, match="permission denied"):
            store.transact({}, {key: b"x"}, timeout=WAIT_S)
    assert store.transact({}, {"host/web1": None}, timeout=WAIT_S).done


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
