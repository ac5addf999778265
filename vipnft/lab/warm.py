"""`vipnft` in a lab's nodes without the start of an interpreter: one that has all imported forks.
Rule 1: what runs is the command line as it is, in a process of its own, in the node's namespaces.
Rule 2: the process that forks has one thread and has never spoken to a kernel: a child of it is
        as fresh as a new interpreter.
Rule 3: it ends with the process that started it, and its children with their lab.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

_SERVER = "vipnft.cli.forkserver"
"""Run by name: the lab knows the command line only as a program."""

_server: socket.socket | None = None
_lock = threading.Lock()


def run(
    places: Mapping[str, str],
    argv: Sequence[str],
    env: Mapping[str, str],
    directory: str,
    *,
    input: str | None,  # noqa: A002 - as subprocess.run calls it
    timeout: float | None,
) -> subprocess.CompletedProcess[str]:
    """Run a command line of vipnft in namespaces, given as paths of pid, net, mnt and uts.

    subprocess.TimeoutExpired after `timeout` seconds, with the process killed.
    """
    files = [os.memfd_create(name) for name in ("in", "out", "err")]
    ours, theirs = socket.socketpair()
    try:
        os.pwrite(files[0], (input or "").encode(), 0)
        asked = {"places": dict(places), "argv": list(argv), "env": dict(env), "in": directory}
        with theirs, _lock:
            socket.send_fds(_running(), [json.dumps(asked).encode()], [theirs.fileno(), *files])
        ours.settimeout(timeout)
        try:
            code = int(ours.recv(16))
        except TimeoutError:
            ours.shutdown(socket.SHUT_WR)  # says: kill it
            raise subprocess.TimeoutExpired(list(argv), timeout or 0.0) from None
        out, err = (os.pread(fd, os.fstat(fd).st_size, 0).decode() for fd in files[1:])
        return subprocess.CompletedProcess(list(argv), code, out, err)
    finally:
        ours.close()
        for fd in files:
            os.close(fd)


def _running() -> socket.socket:
    """Return the server's socket; start the server at first."""
    global _server  # noqa: PLW0603 - one a process, as its children are
    if _server is None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-Pm", _SERVER, str(theirs.fileno())]
        subprocess.Popen(  # noqa: S603
            words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        _server = ours
    return _server
