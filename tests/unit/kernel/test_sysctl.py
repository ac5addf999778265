"""Settings are written where they are, and nowhere else."""

from pathlib import Path

import pytest

from vipnft.errors import KernelError
from vipnft.kernel import sysctl


def test_nothing_is_created_and_nothing_beyond_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctl, "_ROOT", tmp_path / "sys")
    (tmp_path / "sys/net").mkdir(parents=True)
    (tmp_path / "sys/net/there").write_text("1")
    (tmp_path / "beyond").write_text("1")
    (tmp_path / "sys/net/link").symlink_to(tmp_path / "beyond")
    sysctl.write("net/there", "2")
    assert sysctl.read("net/there") == "2"
    for key in ("net/absent", "net/../../beyond", str(tmp_path / "beyond"), "net/link"):
        with pytest.raises(KernelError):
            sysctl.write(key, "2")
    assert (tmp_path / "beyond").read_text() == "1"
    assert not (tmp_path / "sys/net/absent").exists()
