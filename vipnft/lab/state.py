"""Where a running lab is written down, and how one tells that it still runs.

Rule 1: a lab runs if, and only if, the process with the recorded pid *and* start time does.
Rule 2: a file whose process is gone is removed by whoever finds it.
Rule 3: whoever writes a name down first has it: claims are made under the directory's lock.
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from vipnft.errors import UsageError, VipnftError
from vipnft.model import Mode

Fds = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A lab as written down. Without nodes it is only a claim: being brought up by `pid`."""

    name: str
    pid: int
    start: int
    user: bool = False
    hosts: int = 0
    mode: Mode = Mode.SWITCH
    mtu: int = 1500
    nodes: dict[str, Fds] = field(default_factory=dict)
    ports: dict[int, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Tell whether the recorded process lives: the very one, not a later one of its number."""
        return start_time(self.pid) == self.start

    def dump(self) -> str:
        """Render as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what `dump` wrote; JSON has no integer keys and no tuples, we do."""
        data = json.loads(text)
        data["mode"] = Mode(data["mode"])
        data["nodes"] = {node: tuple(fds) for node, fds in data["nodes"].items()}
        data["ports"] = {int(index): node for index, node in data["ports"].items()}
        return cls(**data)


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is dead or unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything; state is the third field, start time the 22nd.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def directory() -> Path:
    """Return this user's directory of labs, made if there is none."""
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if user == 0:
        path = Path("/run/vipnft-lab")
    elif runtime and os.access(runtime, os.W_OK):
        path = Path(runtime, "vipnft-lab")
    else:
        path = Path(f"/tmp/vipnft-lab-{user}")  # noqa: S108 - owner and mode are checked below
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise UsageError(
            f"{path} is not a directory that only user {user} can write to",
            fix=f"see who made it, then remove it: rm -r {path}",
        )
    return path


def state_file(name: str) -> Path:
    """Return where the lab called `name` is written down."""
    return directory() / f"{name}.json"


def cluster_file(name: str) -> Path:
    """Return where the lab's cluster file is; also from inside the lab's nodes."""
    return directory() / f"{name}.toml"


def agents_home(name: str) -> Path:
    """Return the directory of the lab's agents: their store and their logs."""
    return directory() / f"{name}.agents"


def read(name: str) -> State | None:
    """Return the running lab (or claim) of that name; a stale file is removed."""
    with _locked():
        return _read(name)


def running() -> list[State]:
    """Return all labs of this user that run; stale files are removed."""
    with _locked():
        found = [_read(path.stem) for path in sorted(directory().glob("*.json"))]
    return [state for state in found if state is not None and state.nodes]


def claim(name: str) -> State:
    """Take the name for a lab about to be made by this process."""
    me = os.getpid()
    state = State(name=name, pid=me, start=start_time(me) or 0)
    with _locked():
        if (other := _read(name)) is not None:
            what = "already runs" if other.nodes else "is just being brought up"
            raise UsageError(
                f"lab {name!r} {what} (process {other.pid})",
                fix=f"vipnft lab down{_option(name)}, or give another name",
            )
        _write(state)
    return state


def write(state: State) -> None:
    """Replace the claim by the lab, in one step."""
    with _locked():
        _write(state)


def forget(state: State) -> None:
    """Remove the files of this lab, unless another one has the name by now."""
    with _locked():
        try:
            if State.load(state_file(state.name).read_text()).pid != state.pid:
                return
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        _remove(state.name)


def missing(name: str) -> VipnftError:
    """Return the error for a lab that does not run."""
    others = ", ".join(state.name for state in running())
    return UsageError(
        f"no lab {name!r} runs" + (f" (there is {others})" if others else ""),
        fix=f"vipnft lab up{_option(name)}",
    )


def _option(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the directory's lock for a moment."""
    fd = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(name: str) -> State | None:
    try:
        state = State.load(state_file(name).read_text())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        state = None  # of another version, or cut short by a full disk: nothing to go by
    if state is not None and state.runs:
        return state
    _remove(name)
    return None


def _write(state: State) -> None:
    path = state_file(state.name)
    draft = path.with_suffix(".new")
    draft.write_text(state.dump())
    draft.replace(path)


def _remove(name: str) -> None:
    for path in state_file(name), cluster_file(name):
        path.unlink(missing_ok=True)
    shutil.rmtree(agents_home(name), ignore_errors=True)
