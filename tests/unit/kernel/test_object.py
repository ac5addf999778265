"""The XDP program that is committed is what its source gives."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vipnft.kernel.xdp import OBJECT

ROOT = Path(__file__).parents[3]
TOOLS = ("clang-14", "llvm-strip-14", "llvm-objcopy-14")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="`make bpf` installs clang 14")
def test_source_and_object_agree(tmp_path: Path) -> None:
    made = tmp_path / "foreign.o"
    subprocess.run([ROOT / ".ci/bpf", made], check=True)
    assert made.read_bytes() == OBJECT.read_bytes(), "make bpf"
