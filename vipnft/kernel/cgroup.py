"""CPU time that a control group used, as the kernel's cgroup v2 counts it: cpu.stat.

Rule 1: the v2 tree alone, be it the whole of /sys/fs/cgroup or beside v1 as its `unified`: v1 has
        such counts only where each controller is mounted, in files of its own.
Rule 2: it is read anew each time: a unit that is started again has another group.
"""

from collections.abc import Iterator
from pathlib import Path

from vipnft.errors import KernelError

_ROOT = Path("/sys/fs/cgroup")
_USED = "usage_usec "  # Documentation/admin-guide/cgroup-v2.rst: in every group, whatever is on


def used(name: str, root: Path = _ROOT) -> float:
    """Return the CPU seconds that a group has used since it was made: a systemd unit's, or, where
    the name begins with "/", of that path, as /proc/PID/cgroup has it. KernelError says why there
    is none."""
    tree = _tree(root)
    group = tree / name.lstrip("/") if name.startswith("/") else _unit(tree, name)
    file = group / "cpu.stat"
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        microseconds = next(line for line in lines if line.startswith(_USED))
        return int(microseconds.removeprefix(_USED)) / 1e6
    except OSError as error:
        raise KernelError(f"{file} can't be read: {error.strerror}") from error
    except (StopIteration, ValueError) as error:
        raise KernelError(f"{file} does not tell of {_USED.strip()}") from error


def _tree(root: Path) -> Path:
    for tree in (root, root / "unified"):
        if (tree / "cgroup.controllers").exists():
            return tree
    raise KernelError(f"no cgroup v2 is mounted at {root}")


def _unit(tree: Path, name: str) -> Path:
    """Return the group of a unit of the system's: systemd makes it below slices alone."""
    for slice_ in _slices(tree):
        if (slice_ / name).is_dir():
            return slice_ / name
    raise KernelError(f"no slice in {tree} has a group {name}: that unit does not run")


def _slices(group: Path) -> Iterator[Path]:
    yield group
    try:
        several = sorted(group.glob("*.slice"))
    except OSError:  # gone meanwhile
        return
    for one in several:
        yield from _slices(one)
