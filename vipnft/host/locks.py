"""Who works on this machine: one change at a time, one agent.

Rule 1: one file a network namespace; /run forgets them when the machine restarts, as the kernel
        does.
Rule 2: a lost terminal stops nothing half-way.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vipnft.errors import UsageError
from vipnft.kernel import libc

DIRECTORY = Path("/run/vipnft")
_LIVES = 16  # of earlier agents that are remembered
_LIVES_CHARS = 1000  # more than these take
_TRIES, _PAUSE_S = 20, 0.005
AGENT_GONE = "an agent was here and is gone; what the cluster agreed on since, no file says"
TENDED = "an agent serves on this machine, and it alone moves buckets here"
LEAVE_IT = "vipnft drain, resume or weight; or stop it first: systemctl stop vipnft-agent"
START_AGENT = "start it again, or run `vipnft down` first"


@contextmanager
def locked() -> Iterator[None]:
    """Hold the one lock under which this network namespace is changed."""
    handle = _opened(".lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def living(incarnation: str) -> Iterator[frozenset[str]]:
    """Be the one agent of this network namespace; gives the lives before this one, which are over.

    UsageError if an agent lives here. What is written outlasts a kill, not a reboot.
    """
    for _ in range(_TRIES):
        if (handle := _claim()) is not None:
            break
        time.sleep(_PAUSE_S)  # whoever asks `tended` has it for an instant
    else:
        raise UsageError(
            "an agent runs on this machine already", fix="systemctl status vipnft-agent"
        )
    with os.fdopen(handle, "r+", encoding="ascii", errors="replace") as file:
        lives = file.read(_LIVES_CHARS).split()[-_LIVES:]
        file.seek(0)
        file.write("\n".join([*lives, incarnation]) + "\n")
        file.truncate()
        file.flush()
        yield frozenset(lives)


def tended() -> bool:
    """Tell whether an agent lives in this network namespace."""
    if not path_of(".agent").exists():
        return False
    handle = _claim()
    if handle is not None:
        os.close(handle)
    return handle is None


def _claim() -> int | None:
    """Return the agents' lock, held; None if somebody else holds it."""
    handle = _opened(".agent")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _opened(suffix: str) -> int:
    try:
        DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path_of(suffix), flags, 0o600)
    except OSError as error:
        raise UsageError(
            f"{DIRECTORY} can't be written: {error.strerror}", fix="run it with sudo"
        ) from error


def path_of(suffix: str) -> Path:
    """Return the file of this network namespace with a suffix such as .json."""
    return DIRECTORY / f"{libc.netns_cookie()}{suffix}"


def require_untended() -> None:
    """Refuse to go on where an agent serves: UsageError."""
    if tended():
        raise UsageError(TENDED, fix=LEAVE_IT)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal that a terminal or a person sends stop a change half-way."""
    held = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
