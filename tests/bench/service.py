"""How a service grows with its hosts, where each host's CPU is what limits it.

Each host's nginx compresses a page for every request, with a small share of a CPU (a cgroup), so
that a machine with few CPUs has room for all hosts, the clients and the network. Clusters of all
sizes are up at once and are asked in turn, so that a machine that slows down slows all of them.
Every host has the same number of requests in flight, always: what is told is what hosts can do,
not how evenly clients fall. It is compared with so many times the one host of the same round.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import plots
from tests.bench.hotpath import spread
from tests.netns.support import VIP, nginx, until, which
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.model import Mode

SIZES = (1, 2, 4, 8)
ROUNDS = 5
WARM_UP, WINDOW = 1.0, 4.0  # seconds
SHARE, PERIOD = 0.08, 0.02  # of a CPU, and the seconds in which it may use it
IN_FLIGHT, ADDRESSES = 4, 16  # requests for each host, and client addresses for each of them
PAGE = 60_000  # bytes

GZIP = "gzip on; gzip_comp_level 9; gzip_types *;"
_CLIENT = Path(__file__).with_name("service_client.py")
_CGROUPS = Path("/sys/fs/cgroup")


def page() -> bytes:
    """Return a text that compresses about as well as prose."""
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(2000)]
    return " ".join(draw.choices(words, k=PAGE)).encode()[:PAGE]


class Usage(NamedTuple):
    """What the processes of a cgroup have used, in seconds of a CPU, and how many periods ended
    with nothing left."""

    seconds: float
    throttled: int


class Cgroup:
    """A cgroup for the CPU, of version 1 or 2."""

    def __init__(self, name: str) -> None:
        self._first = (_CGROUPS / "cpu").is_dir()
        self._root = _CGROUPS / "cpu" if self._first else _CGROUPS
        self._here = self._root / name
        if not self._first:
            (self._root / "cgroup.subtree_control").write_text("+cpu")
        self._here.mkdir()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Let what is started meanwhile belong to it."""
        fields = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        wanted = "cpu" if self._first else ""
        before = next(path for _, kinds, path in fields if wanted in kinds.split(","))
        _enter(self._here)
        try:
            yield
        finally:
            _enter(self._root / before.lstrip("/"))

    def cap(self) -> None:
        """Allow it SHARE of a CPU from now on."""
        quota, period = round(1e6 * SHARE * PERIOD), round(1e6 * PERIOD)
        if self._first:
            (self._here / "cpu.cfs_period_us").write_text(str(period))
            (self._here / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._here / "cpu.max").write_text(f"{quota} {period}")

    def usage(self) -> Usage:
        """Return what its processes, each of one thread, have used until now."""
        stats = [Path(f"/proc/{pid}/schedstat").read_text() for pid in self._members()]
        lines = (self._here / "cpu.stat").read_text().splitlines()
        throttled = next(int(line.split()[1]) for line in lines if line.startswith("nr_throttled"))
        return Usage(sum(int(stat.split()[0]) for stat in stats) / 1e9, throttled)

    def remove(self) -> None:
        """Wait for its last process to end, and remove it."""
        until(lambda: not self._members(), what=f"the end of what runs in {self._here}")
        self._here.rmdir()

    def _members(self) -> list[str]:
        return (self._here / "cgroup.procs").read_text().split()


def _enter(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


class Window(NamedTuple):
    """Replies a second of all hosts; of the host that had least to do, the share of its quota that
    it used, and the share of periods that ended with nothing left."""

    rate: float
    used: float
    throttled: float


@dataclass(frozen=True)
class Service:
    """A cluster that serves, a cgroup for each of its hosts, and the clients of each request in
    flight."""

    lab: Lab
    cgroups: Sequence[Cgroup]
    clients: Sequence[Sequence[str]]

    @classmethod
    @contextmanager
    def up(cls, hosts: int, where: Path) -> Iterator["Service"]:
        """Bring it up in a lab of its own."""
        name = f"bench-service-{hosts}-{os.getpid()}"
        with ExitStack() as stack:
            cgroups = []
            for number in range(hosts):
                cgroups.append(Cgroup(f"{name}-{number}"))
                stack.callback(cgroups[-1].remove)
            lab = stack.enter_context(Lab.up(name, hosts, Mode.SWITCH))
            for host, cgroup in zip(lab.hosts, cgroups, strict=True):
                lab.run(host, ["vipnft", "apply", "--switch", "--drain", "0"], check=True)
                with cgroup.starting():
                    stack.enter_context(nginx(lab, host, where, content=page(), more=GZIP))
                cgroup.cap()
            yield cls(lab, cgroups, clients_of(lab))

    def window(self, others: "Service") -> Window:
        """Keep every host busy, and return what came of it. Hosts of another cluster make up for
        those that it has fewer: each host gets its share of a CPU as busy as in any window."""
        begin = time.monotonic() + WARM_UP
        end = begin + WINDOW
        missing = len(others.cgroups) - len(self.cgroups)
        with self._asked(len(self.cgroups), begin, end) as client:
            with others._asked(missing, begin, end) if missing else nullcontext():
                time.sleep(max(0, begin - time.monotonic()))
                before = [cgroup.usage() for cgroup in self.cgroups]
                time.sleep(max(0, end - time.monotonic()))
                after = [cgroup.usage() for cgroup in self.cgroups]
            said, failed = client.communicate(timeout=WINDOW + 30)
        assert not client.returncode, failed
        both = list(zip(before, after, strict=True))
        return Window(
            rate=float(said),
            used=min(b.seconds - a.seconds for a, b in both) / (SHARE * WINDOW),
            throttled=min(b.throttled - a.throttled for a, b in both) / (WINDOW / PERIOD),
        )

    @contextmanager
    def _asked(self, hosts: int, begin: float, end: float) -> Iterator["subprocess.Popen[str]"]:
        """Keep so many of its hosts busy until `end`; the client counts from `begin`."""
        words = [sys.executable, str(_CLIENT), VIP, str(begin), str(end)]
        words += map(",".join, self.clients[: hosts * IN_FLIGHT])
        pipe = subprocess.PIPE
        with self.lab.popen("clients", words, stdout=pipe, stderr=pipe) as client:
            try:
                yield client
            finally:
                client.kill()


def clients_of(lab: Lab) -> list[list[str]]:
    """Return the addresses for each request in flight, whose connections all fall to one host: so
    many requests for each host."""
    wanted = IN_FLIGHT * ADDRESSES
    clients = [str(plan.client_address(n)) for n in range(2 * wanted * len(lab.hosts))]
    owners = which(lab, clients)
    found = []
    for host in lab.hosts:
        its = [client for client in clients if owners[client] == host][:wanted]
        assert len(its) == wanted, f"too few of the clients are for {host}"
        found += [its[n::IN_FLIGHT] for n in range(IN_FLIGHT)]
    return found


def measure(where: Path) -> dict[str, Any]:
    """Return, by number of hosts: replies a second, and as a share of so many times one host's
    (medians, with the middle half); of the least busy host of any round, the shares of its quota
    and of the periods that it used up."""
    rounds: list[dict[int, Window]] = []
    with ExitStack() as stack:
        services: dict[int, Service] = {}
        for hosts in SIZES:
            home = where / str(hosts)
            home.mkdir()
            services[hosts] = stack.enter_context(Service.up(hosts, home))
        for number in range(ROUNDS):
            order = SIZES if number % 2 else SIZES[::-1]
            rounds.append({hosts: services[hosts].window(services[SIZES[-1]]) for hosts in order})
    found: dict[str, Any] = {}
    for hosts in SIZES:
        found[str(hosts)] = {
            "rate": spread(one[hosts].rate for one in rounds),
            "linear": spread(one[hosts].rate / (hosts * one[1].rate) for one in rounds),
            "used": min(one[hosts].used for one in rounds),
            "throttled": min(one[hosts].throttled for one in rounds),
        }
        print(f"{hosts} hosts:", _line(found[str(hosts)]), flush=True)
    return found


def _line(of: dict[str, Any]) -> str:
    return (
        f"{of['rate'][0]:.1f} replies/s, {of['linear'][0]:.3f} of linear; every host used"
        f" {of['used']:.3f} of its quota, and all of it in {of['throttled']:.3f} of the periods"
    )


def chapter(figures: dict[str, Any]) -> str:
    """Return the document's part on this, with its plot."""
    rows = [
        f"| {hosts} | {of['rate'][0]:.1f} | {'{:.3f} ({:.3f} to {:.3f})'.format(*of['linear'])} |"
        f" {'0.95' if int(hosts) == SIZES[-1] else '-'} | {of['used']:.3f} |"
        f" {of['throttled']:.3f} |"
        for hosts, of in figures.items()
    ]
    one = figures["1"]["rate"][0]
    series = {
        "vipnft": [(int(hosts), of["rate"][0]) for hosts, of in figures.items()],
        "linear": [(int(hosts), int(hosts) * one) for hosts in figures],
    }
    plot = plots.lines("service", "hosts", "requests/s", series)
    return (
        "## The scale of a service\n\n"
        f"nginx compresses a page of {PAGE // 1000} kB for every request, on hosts that have"
        f" {SHARE:.0%} of a CPU each; every request is a connection, from {IN_FLIGHT * ADDRESSES}"
        f" addresses for each host, {IN_FLIGHT} at a time. Where there are fewer than {SIZES[-1]}"
        " hosts, hosts of another cluster are as busy in their place, for on an idle machine a"
        " burst begins with cold caches. Against so many times the one host of the same round:"
        " medians and the middle half. The last two columns show that nginx was the limit: of the"
        " least busy host of any round, how much of its quota it used, and in how many of the"
        f" periods of {1000 * PERIOD:.0f} ms it used it up.\n\n"
        "What this shows is that nothing is shared that would be the limit of all. The kernel drops"
        " other hosts' packets on nobody's account: no cgroup is charged for it. At these rates it"
        " would be about 1 % of such a host's share; the last chapter reckons with it.\n\n"
        "| hosts | requests/s | of linear | must be | of its quota | periods used up |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + f"\n\n{plot}"
    )
