"""The process that is a lab: init of its PID namespace, holding every other namespace open.

    python -m vipnft.lab.holder REPORT_FD JSON      (run by Lab.up, by nobody else)

Rule 1: kill this process, even with -9, and the kernel ends every process of the lab and all
        its namespaces. Nothing is kept anywhere else: no /run/netns, no bind mount, no cgroup.
Rule 2: it reports exactly one line of JSON: either what was built or what went wrong.
Rule 3: it lives on only if told to, by a byte on standard input: if `up` dies, so does the lab.
Rule 4: it has left the caller's network before it sends its first netlink message.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vipnft.lab import namespaces as ns
from vipnft.lab.plan import Plan
from vipnft.model import Mode

Fds = tuple[int, int, int]
"""A node's network, mount and UTS namespace, open in this process."""

ENTRIES = ("net", "mnt", "uts")


def main(argv: list[str]) -> NoReturn:
    """Become the init of a new PID namespace, build the lab there, and hold it."""
    report, asked = int(argv[1]), json.loads(argv[2])
    try:
        if asked["user"]:
            _enter_user_namespace()
        ns.unshare(ns.CLONE_NEWPID)
        if os.fork():
            os._exit(0)
        os.chdir("/")  # before any mount: no directory of the user's is kept busy
        built = _build(asked)
    except BaseException as error:  # whatever it is, the caller must hear of it
        _tell(report, _sorry(error))
        os._exit(1)
    _tell(report, built)
    _hold()


def _tell(report: int, what: Mapping[str, Any]) -> None:
    """Send the one line; a caller that is gone will not send the byte either."""
    with contextlib.suppress(OSError):
        os.write(report, json.dumps(what).encode() + b"\n")
    os.close(report)


def _sorry(error: BaseException) -> dict[str, Any]:
    """Say what failed, where, in words, and by number if the kernel gave one."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "call": getattr(error, "filename", None) or "",
        "errno": getattr(error, "errno", None) or getattr(error, "code", None) or 0,
        "trace": "".join(traceback.format_exception(error)),
    }


def _enter_user_namespace() -> None:
    """Be root over the lab, and nobody else than before over everything else."""
    user, group = os.geteuid(), os.getegid()
    ns.unshare(ns.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _build(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Make the namespaces, then the wires between them."""
    pid = int(Path("/proc/self").readlink().name)  # in the caller's /proc; ours is yet to come
    plan = Plan(hosts=asked["hosts"], mode=Mode(asked["mode"]), mtu=asked["mtu"])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    nodes = _nodes(plan, asked["shared"])
    # Imported only now: asyncio and pyroute2 might start threads, and a process with threads
    # can't change its mount namespace.
    from vipnft.lab import wiring  # noqa: PLC0415

    ports = wiring.wire(plan, {node: fds[0] for node, fds in nodes.items()})
    return {"pid": pid, "nodes": nodes, "ports": ports}


def _nodes(plan: Plan, shared: str) -> dict[str, Fds]:
    """Make every node's namespaces and return the descriptors that keep them."""
    ns.unshare(ns.CLONE_NEWNS)
    ns.mount("none", "/", flags=ns.MS_REC | ns.MS_PRIVATE)
    ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    base = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    nodes = {}
    for node in plan.nodes:
        ns.setns(base, ns.CLONE_NEWNS)  # or each node's mounts would hold all former nodes' too
        ns.unshare(ns.CLONE_NEWNS | ns.CLONE_NEWNET | ns.CLONE_NEWUTS)
        _own_mounts(shared)
        socket.sethostname(node)
        net, mnt, uts = (
            os.open(f"/proc/self/ns/{entry}", os.O_RDONLY | os.O_CLOEXEC) for entry in ENTRIES
        )
        nodes[node] = (net, mnt, uts)
    return nodes


def _own_mounts(shared: str) -> None:
    """Give a node its own /sys and /run; in the latter, the lab's files where they were."""
    ns.mount("sysfs", "/sys", "sysfs", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    files = os.open(shared, os.O_PATH | os.O_CLOEXEC)
    ns.mount("tmpfs", "/run", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755")
    if not Path(shared).is_dir():  # it was below /run
        Path(shared).mkdir(parents=True)
        ns.mount(f"/proc/self/fd/{files}", shared, flags=ns.MS_BIND)
    os.close(files)


def _hold() -> NoReturn:
    """Wait for the word to stay, then for the end."""
    if os.read(0, 1) != b"+":
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in 0, 1, 2:
        os.dup2(null, standard)
    # An init that ignores SIGCHLD has its orphans reaped by the kernel.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv)
