"""Serve on a socket that listens already, handed over as systemd does: sd_listen_fds(3). Words are
more names by which this host is asked.

The command line execs it, so that what that took is given back: two thirds of the memory; the
service's unit starts nothing else.
"""

import os
import socket
import sys
from contextlib import suppress

from vipnft.serve.answers import Answers
from vipnft.serve.server import Server

_FIRST = 3
"""SD_LISTEN_FDS_START."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def _handed_over() -> socket.socket:
    """Return the socket; end the process where it is handed none, or several."""
    several = os.environ.get("LISTEN_FDS"), os.environ.get("LISTEN_PID")
    if several != ("1", str(os.getpid())):
        sys.exit("vipnft: one listening socket is to be handed over\n  fix: vipnft serve")
    return socket.socket(fileno=_FIRST)


def _names(listener: socket.socket) -> frozenset[str]:
    """Return by which names this host is asked, beside those given."""
    where = str(listener.getsockname()[0])
    own = f"[{where}]" if listener.family == socket.AF_INET6 else where
    return frozenset(name.lower() for name in (*_LOCAL, own, socket.gethostname(), *sys.argv[1:]))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        listening = _handed_over()
        Server(listening, _names(listening), Answers().answer).run()
