"""A lab: hosts, a segment, a router and clients as namespaces of one process.

Rule 1: a Lab is a handle. What it stands for is a process (see holder.py) and a file that says
        which; any number of processes may have the same lab in hand.
Rule 2: whatever goes wrong while a lab is brought up, none is left behind.
Rule 3: as root, what is started in a node is this process's own child: its pid is its pid,
        a signal reaches it, its exit code is its own. Without root there is an nsenter between.
"""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

from vipnft.config import reader
from vipnft.config.writer import render
from vipnft.errors import UsageError, VipnftError
from vipnft.lab import namespaces, plan, state, warm
from vipnft.lab.plan import Plan
from vipnft.lab.start import require_tools, start
from vipnft.lab.state import State
from vipnft.model import Cluster, Mode

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_END_S = 20.0
"""Seconds in which a killed lab must be gone (measured: 0.01, and 0.4 with 1,000 hosts)."""

_started: dict[int, list[subprocess.Popen[str]]] = {}
"""This process's children in each lab, by its pid: a lab can't end while one is not waited for."""
_started_lock = threading.Lock()

_SOCKET = """
import array, socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
made = socket.socket(*map(int, sys.argv[2:]))
end.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
"""


class Lab:
    """A running lab. `with Lab.up(...) as lab:` takes it down in the end, `Lab.find` does not."""

    def __init__(self, running: State) -> None:
        self._state = running

    @classmethod
    def up(
        cls,
        name: str = "lab",
        hosts: int = 4,
        mode: Mode = Mode.SWITCH,
        *,
        mtu: int = 1500,
        seed: int = plan.SEED,
        buckets: int = 256,
    ) -> Self:
        """Bring a lab up. UsageError if one of that name runs, or the kernel forbids it.

        `mtu` is that of the router's link towards the clients: less than 1500 and large
        segments from hosts draw ICMP errors, as path-MTU discovery needs them.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} can't be a lab's name",
                fix="use lower-case letters, digits and '-', 31 at most",
            )
        wanted = Plan(hosts=hosts, mode=mode, mtu=mtu)
        require_tools()
        claim = state.claim(name)
        try:
            text = render(plan.cluster(hosts, seed=seed, buckets=buckets))
            state.cluster_file(name).write_text(text)
            return cls(start(name, wanted))
        except BaseException:
            state.forget(claim)
            raise

    @classmethod
    def find(cls, name: str = "lab") -> Self:
        """Return the lab of that name; UsageError if none runs."""
        found = state.read(name)
        if found is None or not found.nodes:
            raise state.missing(name)
        return cls(found)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of this user's labs."""
        return [found.name for found in state.running()]

    @property
    def name(self) -> str:
        """The name `find` knows it by."""
        return self._state.name

    @property
    def pid(self) -> int:
        """The process that is the lab: kill it, and the lab is gone."""
        return self._state.pid

    @property
    def mode(self) -> Mode:
        """HUB: every frame reaches every port. SWITCH: the bridge learns who is where."""
        return self._state.mode

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts' names: web1 and on."""
        return tuple(plan.host_name(number) for number in range(1, self._state.hosts + 1))

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node's name: the hosts', router, clients, segment."""
        return tuple(self._state.nodes)

    @property
    def ports(self) -> Mapping[int, str]:
        """The node at each port of the bridge, by the port's interface index."""
        return self._state.ports

    @property
    def vip(self) -> IPv4Address:
        """The service address."""
        return plan.VIP

    @property
    def runs(self) -> bool:
        """Tell whether it (still) runs."""
        return self._state.runs

    @property
    def config(self) -> Path:
        """The lab's cluster file; the path is the same inside the nodes."""
        return state.cluster_file(self.name)

    @property
    def cluster(self) -> Cluster:
        """The cluster that the hosts form, as the file has it now."""
        return reader.parse(self.config.read_text(), str(self.config))

    @property
    def environment(self) -> dict[str, str]:
        """What commands in the lab find in their environment besides the caller's."""
        here = str(Path(sys.executable).parent)  # not resolved: a venv's python is a link
        return {
            "PATH": f"{here}:{os.environ.get('PATH', os.defpath)}",
            "VIPNFT_CONFIG": str(self.config),
        }

    def command(self, node: str, argv: Sequence[str]) -> list[str]:
        """Return a command line that runs `argv` in a node, from any shell of this user.

        Nothing outlives it: once its nsenter is gone, the kernel kills what runs inside.
        """
        inside = ["setpriv", "--pdeathsig", "KILL", "--", *self._env(argv)]
        return [*self._nsenter(node, "pid", "mnt", "uts"), "--", *inside]

    def popen(
        self,
        node: str,
        argv: Sequence[str],
        *,
        stdin: int | Any = subprocess.DEVNULL,
        stdout: int | Any = None,
        stderr: int | Any = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command in a node and don't wait; `env` is on top of the lab's own.

        As root, signals (also STOP) go straight to the command. Without root the process is
        the nsenter in front of it; to kill that kills both.
        """
        options: dict[str, Any] = {
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "text": True,
            "env": {**os.environ, **(env or {})},
        }
        if self._state.user:
            process = subprocess.Popen(self.command(node, argv), **options)  # noqa: S603
        else:
            inside = [*self._nsenter(node, "mnt", "uts"), "--", *self._env(argv)]
            with namespaces.children_in(f"/proc/{self.pid}/ns/pid"):
                process = subprocess.Popen(inside, **options)  # noqa: S603
        with _started_lock:
            ours = _started.setdefault(self.pid, [])
            ours[:] = [one for one in ours if one.poll() is None]
            ours.append(process)
        return process

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = False,
        timeout: float | None = 300,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a node to its end; `check`: VipnftError unless it exits with 0.

        VipnftError also when it takes longer than `timeout` seconds; it is killed then.
        `vipnft` itself, as root, is spared its start: see warm.py.
        """
        try:
            if argv[0] == "vipnft" and not self._state.user:
                ended = warm.run(
                    self._places(node, "pid", "net", "mnt", "uts"),
                    argv,
                    {**self.environment, **(env or {})},
                    _directory(),
                    input=input,
                    timeout=timeout,
                )
            else:
                ended = self._run(node, argv, input, timeout, env)
        except subprocess.TimeoutExpired as error:
            raise VipnftError(
                f"{node}: `{' '.join(argv)}` did not end within {timeout:g} s",
                fix=f"try it by hand: vipnft lab exec {node} -- {' '.join(argv)}",
            ) from error
        if check and ended.returncode:
            said = (ended.stderr or ended.stdout).strip() or "it said nothing"
            raise VipnftError(
                f"{node}: `{' '.join(argv)}` ended with {ended.returncode}: {said}",
                fix=f"try it by hand: vipnft lab exec {node} -- {' '.join(argv)}",
            )
        return ended

    def _run(
        self,
        node: str,
        argv: Sequence[str],
        input: str | None,  # noqa: A002
        timeout: float | None,
        env: Mapping[str, str] | None,
    ) -> subprocess.CompletedProcess[str]:
        pipe = subprocess.PIPE
        stdin = subprocess.DEVNULL if input is None else pipe
        process = self.popen(node, argv, stdin=stdin, stdout=pipe, stderr=pipe, env=env)
        with process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def socket(self, node: str, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002
        """Return a socket of the node's network, for use here; close it, or the network stays."""
        ours, theirs = socket.socketpair()
        wanted = (str(theirs.fileno()), str(int(family)), str(int(type)), str(proto))
        line = [*self._nsenter(node), "--", sys.executable, "-ISc", _SOCKET, *wanted]
        with ours, theirs:
            made = subprocess.run(  # noqa: S603
                line, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False
            )
            if made.returncode:
                why = made.stderr.strip().rpartition("\n")[2]
                raise VipnftError(
                    f"{node} gives no socket ({', '.join(wanted[1:])}): {why}",
                    fix="if the lab is gone: vipnft lab up",
                )
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=fds[0])

    def down(self) -> None:
        """Take the lab down: when this returns, no process of it is left. Twice does no harm."""
        with contextlib.suppress(ProcessLookupError):
            holder = os.pidfd_open(self.pid)
            try:
                if self._state.runs:  # asked with the pid held: it can't be another's by now
                    signal.pidfd_send_signal(holder, signal.SIGKILL)
                    self._reap()
                    self._await_end(holder)
            finally:
                os.close(holder)
        self._reap()
        state.forget(self._state)

    def _reap(self) -> None:
        """Fetch the exit codes of our children in the lab: it can't end before that."""
        with _started_lock:
            ours = _started.pop(self.pid, [])
        for process in ours:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)

    def _await_end(self, holder: int) -> None:
        waiting = select.poll()
        waiting.register(holder, select.POLLIN)
        if not waiting.poll(_END_S * 1000):
            raise VipnftError(
                f"lab {self.name!r} was killed but does not end (process {self.pid})",
                fix="end the program that started commands in it and has not waited for them",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _places(self, node: str, *kinds: str) -> dict[str, str]:
        """Return the paths of a node's namespaces."""
        if node not in self._state.nodes:
            raise UsageError(
                f"lab {self.name!r} has no node {node!r}", fix=f"give one of {_few(self.nodes)}"
            )
        of = f"/proc/{self.pid}"
        fds = zip(("net", "mnt", "uts"), self._state.nodes[node], strict=True)
        every = {"pid": f"{of}/ns/pid", **{kind: f"{of}/fd/{fd}" for kind, fd in fds}}
        return {kind: every[kind] for kind in kinds}

    def _nsenter(self, node: str, *more: str) -> list[str]:
        """Return the words that enter a node's network, and `more` of its namespaces."""
        words = ["nsenter"]
        if self._state.user:  # credentials: uid 0 there is who we are already
            words += ["--preserve-credentials", f"--user=/proc/{self.pid}/ns/user"]
        names = {"mnt": "mount"}
        found = self._places(node, "net", *more)
        return words + [f"--{names.get(kind, kind)}={path}" for kind, path in found.items()]

    def _env(self, argv: Sequence[str]) -> list[str]:
        """Return `argv` in the lab's environment and the caller's directory."""
        words = [f"{key}={value}" for key, value in self.environment.items()]
        return ["env", "-C", _directory(), *words, *argv]


def _directory() -> str:
    """Return the caller's directory if a node sees the same one, else the root."""
    here = os.getcwd()  # noqa: PTH109 - only a string is wanted
    hidden = here == "/run" or here.startswith(("/run/", "/proc/", "/sys/"))
    return "/" if hidden else here


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
