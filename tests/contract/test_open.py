"""Which store a URL names, and what is said of URLs that name none."""

import subprocess
import sys
from pathlib import Path

import pytest

from vipnft.errors import UsageError
from vipnft.store.opening import open_store


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
