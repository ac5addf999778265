"""Run a command of the operator's, a check or a hook, for no longer than it may take.

Rule 1: of a command nothing is left behind: its whole process group is killed, also when it
        ended well. A second one is not started while one can't be killed.
"""

import os
import select
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

GRACE_S = 0.2
"""How much longer than its time a command may take to be gone, seconds."""


class Stop:
    """An event that can be waited for together with a process's end."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        os.close(self._fd)

    def set(self) -> None:
        """Let it happen, for good."""
        os.eventfd_write(self._fd, 1)

    def wait(self, seconds: float, *others: int) -> bool:
        """Wait for it or a descriptor among `others` to be ready; tell whether it is set."""
        poll = select.poll()
        for fd in (self._fd, *others):
            poll.register(fd, select.POLLIN)
        return any(fd == self._fd for fd, _ in poll.poll(max(0.0, seconds) * 1000))


class Command:
    """Runs one command at a time, until `stop`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._immortal: int | None = None  # hangs in the kernel, where a kill does not reach it

    def __call__(
        self, words: Sequence[str], env: Mapping[str, str], seconds: float, given: bytes = b""
    ) -> str:
        """Run a command, with `given` (less than a pipe holds) on standard input; return why it
        did not end well in time, "" if it did. OSError if it can't be started."""
        if self._immortal is not None:
            if os.waitpid(self._immortal, os.WNOHANG) == (0, 0):
                return "killed earlier, and has not ended yet"
            self._immortal = None
        pid = _spawn(words, env, given)
        exited = os.pidfd_open(pid)
        try:
            try:
                self._stop.wait(seconds, exited)
                in_time = _readable(exited, 0)
            finally:  # also where a person breaks off
                with suppress(ProcessLookupError, PermissionError):  # the latter: it is another's
                    os.killpg(pid, signal.SIGKILL)  # still its number: it is not reaped yet
            if not _readable(exited, GRACE_S):
                self._immortal = pid
                return f"still running after {seconds:g} s, and can't be killed"
        finally:
            os.close(exited)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not in_time:
            return f"still running after {seconds:g} s"
        if code < 0:
            return f"killed by signal {-code}"
        return f"exit code {code}" if code else ""


def _spawn(words: Sequence[str], env: Mapping[str, str], given: bytes) -> int:
    """Start a command in a session of its own, and return its number.

    Not by subprocess, which would pass on the signal mask: an agent blocks SIGTERM.
    """
    reads, writes = os.pipe()
    try:
        os.set_blocking(writes, False)
        if given:
            os.write(writes, given)
        os.close(writes)
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
        return os.posix_spawnp(
            words[0],
            list(words),
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, reads, 0), *null],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
        )
    finally:
        os.close(reads)


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
