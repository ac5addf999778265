"""Which store a URL names, and what is said of URLs that name none."""

import subprocess
import sys
from pathlib import Path

import pytest

from vipnft.errors import UsageError
from vipnft.store.etcd_url import parsed
from vipnft.store.opening import advice, open_store


@pytest.mark.parametrize("url", ["consul://h", "etcd3://h", "/var/lib/x.db", "", "SQLITE:///x"])
def test_an_unknown_scheme_lists_those_there_are(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_store(url, "c")
    assert "sqlite:///" in raised.value.fix
    assert "etcd://" in raised.value.fix


@pytest.mark.parametrize(
    "url",
    [
        "etcd://", "etcd://h:0", "etcd://h:x", "etcd://h:70000", "etcd://h,", "etcd://::1",
        "etcd://h/path", "etcd://u:secret@h:x", "etcd://h?timeout=3", "etcd://h?cert=a&key=b",
        "etcd://h?ca=/no/such&cert=a", "etcd://u:secret@h?ca=/no/such",
        "etcd:/u:secret@h", "u:secret@etcd://h", "etcd://u:secret?@h", "etcd://u:secret&?x=@h",
        "etcd://u:secret@h1,u:secret@h2", "etcd://u:se@secret@h", "etcd://u:secret",
        "sqlite://u:secret@h/x",
    ],
)  # fmt: skip
def test_an_etcd_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_store(url, "c")
    assert raised.value.fix
    assert "secret" not in str(raised.value) + raised.value.fix


@pytest.mark.parametrize(
    "url", ["etcd://h", "etcd://[::1]", "etcd://[::1]:1,h:2", "etcd://u:p%40%3A,@a:1,b/"]
)
def test_an_etcd_url(url: str) -> None:
    open_store(url, "c").close()


def test_a_login_is_given_once_for_all_members() -> None:
    with pytest.raises(UsageError) as raised:
        open_store("etcd://u:p@h1,u:p@h2", "c")
    assert "once" in raised.value.fix
    assert parsed("etcd://u:p%40@h1,h2").credentials.password == "p@"


@pytest.mark.parametrize(
    ("url", "unwise"),
    [
        ("etcd://h", False),
        ("etcd://u:p@h", True),
        ("etcd://u:p@127.0.0.1,localhost:1,[::1]", False),
        ("etcd://u:p@127.0.0.1,h", True),
        ("sqlite:///x", False),
    ],
)
def test_a_password_in_clear_is_told_of(url: str, unwise: bool) -> None:
    assert bool(advice(url)) == unwise


def test_a_password_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss word\n")
    assert parsed("etcd://u@h", str(file)).credentials.password == "p@ss word"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert parsed("etcd://u@h", "password").credentials.password == "p@ss word"
    assert advice("etcd://u@h", "password")


@pytest.mark.parametrize(
    ("url", "file", "named"),
    [
        ("etcd://h", "/dev/null", "user"),
        ("etcd://u:secret@h", "/dev/null", "no password there"),
        ("etcd://u@h", "/no/such", "No such file"),
        ("etcd://u@h", "no-such", "No such file"),
    ],
)
def test_a_password_file_that_does_not_fit(url: str, file: str, named: str) -> None:
    with pytest.raises(UsageError, match=named) as raised:
        open_store(url, "c", file)
    assert "secret" not in f"{raised.value}{raised.value.fix}"


def test_a_ca_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nonsense")
    with pytest.raises(UsageError, match="ca:"):
        open_store(f"etcd://h?ca={tmp_path}/ca", "c")


@pytest.mark.parametrize(
    ("url", "backends"),
    [
        ("sqlite:///tmp/never", {"sqlite"}),
        ("etcd://h", {"etcd", "etcd_connection", "etcd_member", "etcd_url", "etcd_watch"}),
    ],
)
def test_only_the_backend_that_is_opened_is_imported(url: str, backends: set[str]) -> None:
    code = f"""
import sys
from vipnft.store.opening import open_store
open_store({url!r}, "c").close()
print(*[name for name in sys.modules if name.startswith("vipnft.store.")])
"""
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert set(said.split()) == {
        f"vipnft.store.{name}" for name in backends | {"contract", "opening"}
    }
