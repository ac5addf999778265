"""CPU time of a control group: of a unit, of a path, and why there is none."""

import os
import re
import time
from pathlib import Path

import pytest

from vipnft.errors import KernelError
from vipnft.kernel.cgroup import used


def group(root: Path, path: str, text: str = "usage_usec 1500000\nuser_usec 1\n") -> Path:
    (root / "cgroup.controllers").touch()
    one = root / path
    one.mkdir(parents=True)
    (one / "cpu.stat").write_text(text)
    return one


@pytest.mark.parametrize("tree", ["", "unified"])
def test_a_path_or_a_unit_below_slices_tells_of_its_cpu(tmp_path: Path, tree: str) -> None:
    root = tmp_path / tree
    root.mkdir(exist_ok=True)
    group(root, "system.slice/system-nsd.slice/nsd@1.service")
    group(root, "other/deep")
    assert used("nsd@1.service", tmp_path) == 1.5
    assert used("/other/deep", tmp_path) == 1.5
    assert used("/system.slice/system-nsd.slice/nsd@1.service", tmp_path) == 1.5
    with pytest.raises(KernelError, match=r"no slice in .* has a group deep\.service"):
        used("deep.service", tmp_path)


def test_it_says_why_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no cgroup v2 is mounted"):
        used("/a", tmp_path)
    group(tmp_path, "a", "nothing 5\n")
    with pytest.raises(KernelError, match=r"a/cpu\.stat does not tell of usage_usec"):
        used("/a", tmp_path)
    with pytest.raises(KernelError, match=r"gone/cpu\.stat can't be read: No such file"):
        used("/gone", tmp_path)


def test_the_kernels_own_count_is_of_seconds() -> None:
    found = re.search(r"(?m)^0::(/.*)$", Path("/proc/self/cgroup").read_text())
    group = found[1] if found else "/"
    began = time.monotonic()
    try:
        before = used(group)
    except KernelError as error:
        pytest.skip(str(error))
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    most = 10 * (time.monotonic() - began) * (os.cpu_count() or 1)
    assert 0.1 < used(group) - before < most
