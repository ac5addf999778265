"""Real etcd servers for tests: on loopback, on free ports, in a directory that is
thrown away. No disk is waited for: what is killed here is processes."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def b64(text: str) -> str:
    """Return text as etcd's JSON has keys and values."""
    return b64encode(text.encode()).decode()


class Etcd:
    """A cluster of `size` members; `extra` are more options of etcd's."""

    def __init__(self, home: Path, size: int = 1, *, scheme: str = "http", extra: str = "") -> None:
        self.home = home
        self.ports = free_ports(size)
        self.options = [f"--{option}" for option in extra.split()]
        self.scheme = scheme
        self.peers = [f"http://127.0.0.1:{port}" for port in free_ports(size)]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Etcd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self.processes):
            self.kill(number)

    @property
    def url(self) -> str:
        return "etcd://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, *numbers: int) -> None:
        """Start these members, or all; return when each of them serves."""
        if not (etcd := shutil.which("etcd")):
            raise FileNotFoundError("no etcd here: `make setup-test`, or leave out -m etcd")
        members = ",".join(f"m{number}={peer}" for number, peer in enumerate(self.peers))
        for number in numbers or range(len(self.ports)):
            client, peer = f"{self.scheme}://127.0.0.1:{self.ports[number]}", self.peers[number]
            options = [
                f"--name=m{number}", f"--data-dir={self.home}/m{number}",
                f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={members}", "--unsafe-no-fsync",
            ]  # fmt: skip
            with (self.home / f"m{number}.log").open("ab") as log:
                self.processes[number] = subprocess.Popen(
                    [etcd, *options, *self.options], stdout=log, stderr=log
                )
        for number in numbers or range(len(self.ports)):
            eventually(partial(self._serves, number))

    def kill(self, *numbers: int) -> None:
        for number in numbers or list(self.processes):
            process = self.processes.pop(number)
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def stopped(self, *numbers: int) -> Iterator[None]:
        """Stop these members (all without numbers) as SIGSTOP does, and let them go on."""
        processes = [self.processes[n] for n in numbers or self.processes]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Throw the data of dead members away."""
        for directory in self.home.glob("m?"):
            shutil.rmtree(directory)

    def leader(self) -> int:
        """Return the number of the member that leads, as soon as all living ones agree on it."""

        def agreed() -> list[int]:
            states = {n: self.ask(n, "maintenance/status", {}) for n in self.processes}
            ids = {state["header"]["member_id"]: n for n, state in states.items()}
            leaders = {state.get("leader") for state in states.values()}
            return [ids[next(iter(leaders))]] if len(leaders) == 1 and leaders <= set(ids) else []

        return eventually(agreed)[0]

    def ask(self, number: int, path: str, body: dict[str, Any], token: str = "") -> Any:
        """Post one request to a member's JSON gateway."""
        member = http.client.HTTPConnection("127.0.0.1", self.ports[number], timeout=5)
        with contextlib.closing(member):
            headers = {"Authorization": token} if token else {}
            member.request("POST", f"/v3/{path}", json.dumps(body), headers)
            answer = member.getresponse()
            assert answer.status == http.HTTPStatus.OK, answer.read()
            return json.load(answer)

    def _serves(self, number: int) -> bool:
        process = self.processes[number]
        if process.poll() is not None:
            raise AssertionError((self.home / f"m{number}.log").read_text()[-2000:])
        if self.scheme == "https":  # only knows that it listens
            with socket.create_connection(("127.0.0.1", self.ports[number]), 1):
                return True
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.ports[number]}/health", timeout=1
        ) as answer:
            return bool(json.load(answer)["health"] == "true")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has, below those that the kernel gives to whoever asks for any: or
    somebody else might have one while its server is dead, or connect from it to itself."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(lowest // 2, lowest)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def eventually(look: Callable[[], T], seconds: float = 60) -> T:
    """Return what `look` returns as soon as that is true; errors of the network are "not yet"."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except OSError:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
