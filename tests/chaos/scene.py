"""Where chaos plays: a lab of four hosts with agents, their store, and who looks on.

Rule 1: what was seen is kept with the time at which it was (monotonic, seconds), to be judged
        afterwards by that alone.
Rule 2: a process that waited for a processor is no fault of what is tried: that is seen, too.
"""

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.members import Members
from tests.netns.cast import Agents, serving
from tests.netns.support import until
from tests.netns.test_failover import even
from vipnft.config.writer import render
from vipnft.lab.lab import Lab
from vipnft.model import StoreLoss

_LOOK_S = 0.05  # between two looks of the onlooker's
_WATCH_S = 0.2
_STARVED = 8  # a process that waited, within a second, for this part of a lease had no processor
_WORDS = ("--drain", "5s")  # a handshake that is half open drains for a minute
_ONLOOKER = Path(__file__).parent / "programs/onlooker.py"


@dataclass
class Seen:
    """What was seen of the store, agents and processors, each with its time.

    `beats`: when a host's key moved; `tables`: when and what its owners became; `changes`: how
    often the table was another version; `notes`: lines of agents' logs; `starved`: (host or "" for
    the store, from, until) in which a process waited for a processor.
    """

    beats: dict[str, list[float]] = field(default_factory=dict)
    tables: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    changes: int = 0
    notes: list[tuple[float, str, str]] = field(default_factory=list)
    starved: list[tuple[str, float, float]] = field(default_factory=list)

    def beaten_since(self, host: str, at: float, times: int = 2) -> float | None:
        """Return when a host's key had moved so many times since; None if it has not yet."""
        later = [beat for beat in self.beats.get(host, []) if beat > at]
        return later[times - 1] if len(later) >= times else None


class Onlooker:
    """Reads what the program at the router prints."""

    def __init__(self, lab: Lab, url: str, seen: Seen) -> None:
        self._seen = seen
        self._versions: dict[str, int] = {}
        words = [sys.executable, str(_ONLOOKER), url, "lab", str(_LOOK_S)]
        self._process = lab.popen("router", words, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, name="onlooker", daemon=True).start()

    @property
    def lives(self) -> bool:
        """Whether it (still) looks."""
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout
        version = 0
        for line in self._process.stdout:
            said = json.loads(line)
            for host, key in said["beats"].items():
                if self._versions.get(host) != key:
                    self._versions[host] = key
                    self._seen.beats.setdefault(host, []).append(said["at"])
            self._seen.changes += said.get("table", 0) != version
            version = said.get("table", 0)
            if "owners" in said:
                self._seen.tables.append((said["at"], tuple(said["owners"])))


class Watcher:
    """Looks at agents' logs and at how long processes wait for a processor."""

    def __init__(self, scene: "Scene", longest: float) -> None:
        self._scene, self._longest = scene, longest
        self._over = threading.Event()
        self._read: dict[str, int] = {}
        self._waited: dict[str, deque[tuple[float, float]]] = {}
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_S):
            for host in self._scene.lab.hosts:
                self._logged(host)
            now = time.monotonic()
            for whose, process in self._scene.processes():
                self._scheduled(whose, process, now)

    def _logged(self, host: str) -> None:
        file = self._scene.cast.home / f"{host}.log"
        with file.open("rb") as log:
            log.seek(self._read.get(host, 0))
            text = log.read()
        whole = text.rpartition(b"\n")[0]
        self._read[host] = self._read.get(host, 0) + len(whole) + bool(whole)
        now = time.monotonic()
        self._scene.seen.notes += [(now, host, one.decode()) for one in whole.splitlines()]

    def _scheduled(self, whose: str, process: "subprocess.Popen[str]", now: float) -> None:
        """Note threads that waited for more than `longest` in the last second."""
        for task in Path(f"/proc/{process.pid}/task").glob("*"):
            with suppress(OSError, ValueError, IndexError):
                waited = int((task / "schedstat").read_text().split()[1]) / 1e9
                known = self._waited.setdefault(task.name, deque())
                known.append((now, waited))
                while known[0][0] < now - 1.0 and len(known) > 1:
                    known.popleft()
                if (late := waited - known[0][1]) > self._longest:
                    self._scene.seen.starved.append((whose, now - max(1.0, late), now))
                    known.clear()


@dataclass
class Scene:
    """A running lab, with all that belongs to it. `members` is None over SQLite; `down` are hosts
    whose agents a fault has ended, `started` when one did so last."""

    lab: Lab
    cast: Agents
    members: Members | None
    loss: StoreLoss
    lease: float
    seen: Seen
    down: set[str] = field(default_factory=set)
    started: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def processes(self) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
        """Yield the processes on which answers depend, by whose they are."""
        yield from [*self.cast.running.items()]
        if self.members:
            yield from (("", process) for process in self.members.processes())

    def order(self, *words: str) -> bool:
        """Give an operator's order on some host that can reach the store; tell whether it was
        taken."""
        return any(
            self.lab.run(host, ["vipnft", *words, "--store", self.cast.url]).returncode == 0
            for host in self.lab.hosts
        )

    def last_words(self, host: str) -> str:
        """Return the end of a log."""
        return " / ".join(self.cast.log(host).splitlines()[-8:])

    def tended(self) -> list[str]:
        """Start again what ended by itself, as systemd does (Restart=always), and return whose
        agent that was; one that ended with a traceback is broken."""
        ended = [
            host
            for host, process in [*self.cast.running.items()]
            if host not in self.down and process.poll() is not None
        ]
        for host in ended:
            if "Traceback" in (last := self.last_words(host)):
                self.broken.append(f"{host}'s agent ended: {last}")
            self.started[host] = time.monotonic()
            self.cast.start(host)
        return ended


@contextmanager
def played(
    name: str,
    where: Path,
    *,
    etcd: bool = True,
    loss: StoreLoss = StoreLoss.FENCE,
    lease: float = 1.0,
    settle: float = 1.0,
) -> Iterator[Scene]:
    """Bring it all up, until every host serves its share."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.up(name, 4))
        cluster = lab.cluster
        agents = replace(cluster.agents, lease=lease, beat=lease / 5, on_store_loss=loss)
        lab.config.write_text(render(replace(cluster, agents=agents)))
        members = Members(lab, where) if etcd else None
        url = members.url if members else ""
        cast = stack.enter_context(serving(lab, where, url=url, settle=settle, words=_WORDS))
        even(cast)
        seen = Seen()
        scene = Scene(lab, cast, members, loss, lease, seen)
        onlooker = Onlooker(lab, members.direct if members else cast.url, seen)
        until(lambda: seen.tables and onlooker.lives, what="the onlooker")
        watcher = Watcher(scene, lease / _STARVED)
        stack.callback(watcher.stop)
        yield scene
