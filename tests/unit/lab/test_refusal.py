"""Why no lab can be had, and what to do about it."""

import errno
from pathlib import Path
from typing import Any

import pytest

from vipnft.errors import KernelError, UsageError
from vipnft.lab.refusal import explain


def report(number: int, call: str = "unshare(0x10000000)") -> dict[str, Any]:
    return {"error": "OSError: no", "call": call, "errno": number, "trace": "Traceback\n"}


@pytest.mark.parametrize(
    ("name", "bad", "fix"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "=0"),
        ("kernel/unprivileged_userns_clone", "0", "=1"),
        ("user/max_user_namespaces", "0", "=10000"),
    ],
)
def test_the_sysctl_that_forbids_it_is_named(tmp_path: Path, name: str, bad: str, fix: str) -> None:
    switch = tmp_path / name
    switch.parent.mkdir()
    switch.write_text(bad + "\n")
    error = explain(report(errno.EPERM), user=True, proc=tmp_path)
    key = name.replace("/", ".")
    assert isinstance(error, UsageError)
    assert f"{key} is {bad}" in str(error)
    assert f"sudo sysctl {key}{fix}" in error.fix


def test_no_sysctl_to_blame(tmp_path: Path) -> None:
    assert explain(report(errno.EPERM), user=True, proc=tmp_path).fix == "run it with sudo"


@pytest.mark.parametrize(
    ("number", "user", "words"),
    [
        (errno.EPERM, False, "CAP_SYS_ADMIN"),
        (errno.ENOSPC, True, "take other labs down"),
        (errno.EMFILE, True, "ulimit -Hn"),
        (errno.EOPNOTSUPP, False, "modprobe -a veth bridge"),
    ],
)
def test_known_reasons(number: int, user: bool, words: str, tmp_path: Path) -> None:
    error = explain(report(number), user=user, proc=tmp_path)
    assert isinstance(error, UsageError)
    assert words in error.fix


def test_what_is_not_understood_is_shown_whole() -> None:
    error = explain(report(errno.EIO), user=False)
    assert isinstance(error, KernelError)
    assert "OSError: no" in str(error)
    assert "Traceback" in error.fix


def test_a_full_disk_is_not_a_limit_of_namespaces() -> None:
    assert isinstance(explain(report(errno.ENOSPC, "mount(tmpfs)"), user=True), KernelError)
