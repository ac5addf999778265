"""Agents on the hosts of a lab, and clients that see every gap and every double answer."""

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from tests.netns.support import PACE, VIP, configure, nginx, on_hosts, until
from vipnft.agreement.records import members
from vipnft.errors import VipnftError
from vipnft.lab.lab import Lab
from vipnft.model import Check
from vipnft.ruleset import affinity
from vipnft.store.sqlite import SqliteStore

_ROOT = Path(__file__).parents[2]
_AGAIN = 10  # answers that every client gets before it stops


@dataclass
class Agents:
    """Agents on all hosts of a lab, with their logs; `words` are options for each."""

    lab: Lab
    url: str
    home: Path
    running: dict[str, subprocess.Popen[str]]
    env: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def start(self, host: str, *more: str, before: Sequence[str] = ()) -> None:
        """Start a host's agent, with more options; `before` is what becomes it, by exec."""
        with (self.home / f"{host}.log").open("a") as log:
            words = [
                *before,
                "vipnft",
                "agent",
                f"--{self.lab.mode}",
                "--store",
                self.url,
                *self.words,
                *more,
            ]
            self.running[host] = self.lab.popen(host, words, stderr=log, env=self.env)

    def log(self, host: str) -> str:
        return (self.home / f"{host}.log").read_text()

    def says(self, host: str, text: str, times: int = 1) -> bool:
        """Tell whether a host's log has a text so many times."""
        return self.log(host).count(text) >= times

    def look(self) -> dict[str, Any]:
        said = self.lab.run(
            "web1", ["vipnft", "status", "--cluster", "--json", "--store", self.url], check=True
        )
        hosts: dict[str, Any] = json.loads(said.stdout)["hosts"]
        return hosts

    def named_by(self, host: str) -> frozenset[str]:
        """Return who may take over from a host: whom its last beat in the file names."""
        store = SqliteStore.at(self.url, self.lab.cluster.name)
        try:
            return members(store.transact({}, {}, timeout=5).snapshot)[host].knows
        finally:
            store.close()

    def owned(self) -> list[int]:
        """Return how many buckets each host owns; none while the store does not answer."""
        try:
            hosts = self.look()
        except VipnftError as error:
            if "vipnft: store " in str(error):
                return []
            raise
        return [len(one["owned"]) for one in hosts.values()]


@contextlib.contextmanager
def serving(
    lab: Lab,
    home: Path,
    checks: tuple[Check, ...] = (),
    url: str = "",
    env: dict[str, str] | None = None,
    hosts: Sequence[str] = (),
    settle: float = 0.0,
    words: tuple[str, ...] = (),
    **more: Any,
) -> Iterator[Agents]:
    """Run an agent on every host, or on those given; who comes back settles for so many seconds;
    `more` are values of Agents."""
    configure(lab, agents=replace(lab.cluster.agents, checks=checks, settle=settle, **more))
    cast = Agents(lab, url or f"sqlite://{home}/store.db", home, {}, env or {}, words)
    several = hosts or lab.hosts
    for host in several:
        cast.start(host)

    def serve() -> bool:
        assert all(agent.poll() is None for agent in cast.running.values()), "an agent has ended"
        return all("buckets here" in cast.log(host) for host in several)

    try:
        until(serve, seconds=120 * PACE, what="the table")
        yield cast
    except AssertionError as error:
        for host in cast.running:
            error.add_note(f"{host}'s agent said, in the end:\n{cast.log(host)[-2000:]}")
        raise


@dataclass
class Heard:
    """What the clients of each bucket's owner saw: pings' answers as seconds since the epoch."""

    files: dict[str, Path]
    answers: dict[str, list[float]] = field(default_factory=dict)
    double: int = 0

    def more(self, count: int) -> None:
        """Wait until every client has been answered so many more times."""

        def answered(client: str) -> int:
            return self.files[client].read_text().count("bytes from")

        goal = {client: answered(client) + count for client in self.files}
        until(lambda: all(answered(c) >= n for c, n in goal.items()), what="answers to all")

    def gap(self, client: str) -> float:
        """Return the longest time between two answers, in seconds."""
        times = self.answers[client]
        return max(b - a for a, b in itertools.pairwise(times))

    def lost(self, *clients: str) -> dict[str, list[range]]:
        """Return the runs of numbers whose questions were not answered, of these clients or of all,
        before each one's last answer."""
        found = {}
        for client in clients or self.files:
            text = self.files[client].read_text()
            answered = {int(n) for n in re.findall(r"bytes from .* icmp_seq=(\d+)", text)}
            ends = itertools.pairwise([0, *sorted(answered)])
            if runs := [range(a + 1, b) for a, b in ends if b > a + 1]:
                found[client] = runs
        return found

    def gaps(self) -> list[float]:
        return sorted(self.gap(client) for client in self.answers)


@contextlib.contextmanager
def pinging(lab: Lab, home: Path, clients: list[str], every: float = 0.01) -> Iterator[Heard]:
    """Ping the VIP from every client, in the end until each is answered again, a few times over;
    ping itself tells of a second answer (DUP!)."""
    heard = Heard({client: home / f"ping-{client}" for client in clients})
    running = {}
    for client, file in heard.files.items():
        with file.open("w") as out:
            words = ["ping", "-D", f"-i{every}", "-I", client, VIP]
            running[client] = lab.popen("clients", words, stdout=out, stderr=out)
    try:
        heard.more(1)
        yield heard
        heard.more(_AGAIN)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for client, process in running.items():
            process.wait()
            text = heard.files[client].read_text()
            heard.double += text.count("DUP!")
            stamps = re.findall(r"^\[([\d.]+)\] \d+ bytes from", text, re.MULTILINE)
            heard.answers[client] = [float(stamp) for stamp in stamps]


@contextlib.contextmanager
def flowing(lab: Lab, where: Path, *, count: int, rate: int) -> Iterator[dict[str, Any]]:
    """`count` open connections and `rate` new ones a second to real nginx on every host; what
    came of them is there in the end."""
    found: dict[str, Any] = {}
    words = [sys.executable, "-Pm", "tests.netns.programs.flow_client", VIP, str(count), str(rate)]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_hosts(lab, where, nginx))
        root = {"PYTHONPATH": str(Path(__file__).parents[2])}
        client = lab.popen("clients", words, stdin=pipe, stdout=pipe, env=root)
        assert client.stdout
        assert client.stdout.readline() == "open\n"
        yield found
        found |= json.loads(client.communicate()[0])


@contextlib.contextmanager
def asking_for_work(lab: Lab, vip: str, works: Mapping[str, int], rate: float) -> Iterator[None]:
    """Let each client ask for so many microseconds of CPU time, so often a second."""
    pipe = subprocess.PIPE
    words = [sys.executable, "-Pm", "tests.netns.programs.working_client", vip, str(rate)]
    client = lab.popen("clients", words, stdin=pipe, stdout=pipe, env={"PYTHONPATH": str(_ROOT)})
    assert client.stdin
    assert client.stdout
    client.stdin.write(json.dumps(works) + "\n")
    client.stdin.flush()
    assert client.stdout.readline() == "open\n"
    yield
    assert int(client.communicate()[0]) > 100


def bucket_of(lab: Lab, client: str) -> int:
    cluster = lab.cluster
    kind, _ = affinity.dealt(cluster.services)
    return affinity.bucket(kind, ip_address(client), cluster.seed, cluster.buckets)


def clients_of(lab: Lab, owned: list[int], count: int) -> list[str]:
    """Return addresses of clients whose buckets are among these, each in another bucket."""
    left, found = set(owned), []
    for number in range(1, 2**16):
        client = str(IPv4Address("10.64.0.0") + number)
        bucket = bucket_of(lab, client)
        if bucket in left:
            left.remove(bucket)
            found.append(client)
        if len(found) == count:
            return found
    raise AssertionError("too few buckets for so many clients")
