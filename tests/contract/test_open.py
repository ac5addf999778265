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


def test_a_missing_client_library_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["etcd3gw"] = None
from vipnft.errors import UsageError
from vipnft.store.opening import open_store
open_store("sqlite:///tmp/never", "c")
assert not {"requests", "urllib3"} & set(sys.modules)
try:
    open_store("etcd://h", "c")
except UsageError as error:
    print(error, error.fix)
"""
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert "etcd3gw" in said
    assert "pip install 'vipnft[etcd]'" in said
