"""What an agent is told by signals, without a handler that interrupts anything.

Rule 1: outside of the context they are blocked: over a renewal, until the new life listens.
"""

import os
import signal
import socket
import threading
from contextlib import suppress
from typing import Self

HANDLED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def start_apart(thread: threading.Thread) -> None:
    """Start a thread that is not the one to be told of signals: main listens for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Signals:
    """SIGTERM, SIGINT and SIGHUP as flags, and as something to poll on."""

    def __init__(self) -> None:
        self.stop = self.reread = False
        self._ours, self._kernels = socket.socketpair()

    def __enter__(self) -> Self:
        for end in (self._ours, self._kernels):
            end.setblocking(False)
        signal.set_wakeup_fd(self._kernels.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)  # blocked over a renewal
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        signal.set_wakeup_fd(-1)
        self._ours.close()
        self._kernels.close()

    def fileno(self) -> int:
        """Return what is readable once one came."""
        return self._ours.fileno()

    def drain(self) -> None:
        """Make it unreadable until the next one."""
        with suppress(BlockingIOError):
            while self._ours.recv(64):
                pass

    def hand_on(self) -> None:
        """Have the life that comes in this process's place stop, if this one was told to."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        if self.stop:
            os.kill(os.getpid(), signal.SIGTERM)  # pending from now on, over exec too

    def _note(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self.reread = True
        else:
            self.stop = True
