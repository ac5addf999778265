"""A process that has all of the command line imported, and forks it into a lab's nodes.

    python -m vipnft.cli.forkserver FD      (run by vipnft.lab.warm, by nobody else)

Rule 1: what runs is the command line as it is, in a process of its own, in the node's namespaces.
Rule 2: the process that forks has one thread and has never spoken to a kernel: a child of it is
        as fresh as a new interpreter.
Rule 3: it ends with the process that started it, and its children with their lab.
"""

import contextlib
import gc
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from vipnft.cli import picture, plan_report
from vipnft.cli.main import main
from vipnft.config import reader
from vipnft.host import announce, apply, checkup
from vipnft.lab import namespaces
from vipnft.observe import cluster_report, status_report
from vipnft.store import opening

PRELOADED = (
    announce, apply, checkup, cluster_report, opening, picture, plan_report, reader, status_report,
)  # fmt: skip
"""What the verbs import when they run: here once for all."""
_REQUEST_BYTES = 1 << 16
_KINDS = {
    "net": namespaces.CLONE_NEWNET,
    "mnt": namespaces.CLONE_NEWNS,
    "uts": namespaces.CLONE_NEWUTS,
}


def _serve(requests: socket.socket) -> NoReturn:
    gc.freeze()
    waiting = select.poll()
    waiting.register(requests, select.POLLIN)
    children: dict[int, tuple[int, socket.socket]] = {}  # by pidfd: pid, and who is told
    callers: dict[int, int] = {}  # by the caller's socket: pidfd
    while True:
        for fd, _ in waiting.poll():
            if fd == requests.fileno():
                data, fds, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 4)
                if not data:
                    os._exit(0)
                caller = socket.socket(fileno=fds[0])
                pid = _child(json.loads(data), fds[1:], requests)
                child = os.pidfd_open(pid)
                children[child], callers[caller.fileno()] = (pid, caller), child
                waiting.register(child, select.POLLIN)
                waiting.register(caller, select.POLLIN)
            elif fd in children:
                pid, caller = children.pop(fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                waiting.unregister(fd)
                os.close(fd)
                if callers.pop(caller.fileno(), None) is not None:
                    waiting.unregister(caller)
                with contextlib.suppress(OSError), caller:
                    caller.send(str(code).encode())
            elif fd in callers:  # it waits no longer
                os.kill(children[callers.pop(fd)][0], 9)
                waiting.unregister(fd)


def _child(asked: Mapping[str, Any], files: Sequence[int], requests: socket.socket) -> int:
    """Fork a command into its namespaces; return its pid, as this process sees it."""
    with namespaces.children_in(asked["places"]["pid"]):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                requests.close()
                for number, fd in enumerate(files):
                    os.dup2(fd, number)
                code = _run(asked)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    for fd in files:
        os.close(fd)
    return pid


def _run(asked: Mapping[str, Any]) -> int:
    # All are opened first: with its mounts, a node has another /proc.
    opened = [os.open(asked["places"][kind], os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS]
    for fd, flag in zip(opened, _KINDS.values(), strict=True):
        namespaces.setns(fd, flag)
        os.close(fd)
    os.chdir(asked["in"])
    os.environ.update(asked["env"])
    sys.argv = list(asked["argv"])
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
