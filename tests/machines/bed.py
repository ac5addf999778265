"""The test bed: three machines and a router on one learning segment, and a store beside them.

Rule 1: segment, router and clients are a lab's; the machines are plugged into it by taps. The
        lab's one host is no member of the cluster: it is where etcd runs.
Rule 2: the lab's end is the end of everything, QEMU included: nothing is left behind.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.machines.image import Image, cache, locked
from tests.machines.machine import Machine, until
from tests.netns.support import VIP, VIP6, shell
from vipnft.errors import UsageError
from vipnft.lab import plan
from vipnft.lab.lab import Lab
from vipnft.lab.state import State

T = TypeVar("T")

LEASE = 20.0
"""Seconds. On an emulated machine that is busy, an agent takes ten seconds to begin anew; a lease
has to outlast that, as the default of one second does elsewhere."""

STORE = "web1"
CLUSTER = f"""
[cluster]
name = "machines"
seed = {plan.SEED:#x}
vips = ["{VIP}", "{VIP6}"]
interface = "eth0"
mode = "switch"
store = "etcd://{plan.host_address(1)}:2379"
lease = "{LEASE:g}s"

[[host]]
name = "m1"

[[host]]
name = "m2"

[[host]]
name = "m3"
"""

_NAME = "machines"


class Segment(Lab):
    """A lab whose switch has machines plugged in, too."""

    def __init__(self, running: State) -> None:
        super().__init__(running)
        self.taps: dict[int, str] = {}

    @property
    def ports(self) -> Mapping[int, str]:
        return {**super().ports, **self.taps}

    def plug(self, name: str) -> None:
        """Give the switch a port for a machine."""
        shell(
            self,
            "segment",
            f"ip tuntap add {name} mode tap; ip link set {name} master br0 up",
        )
        index = shell(self, "segment", f"ip -o link show {name}").split(":")[0]
        self.taps[int(index)] = name


class Bed:
    """Machines on a segment."""

    def __init__(self, lab: Segment, image: Image, package: Path, home: Path) -> None:
        self.lab, self.package, self.system = lab, package, image.system
        self.boot_seconds, self.prepared = 0.0, False
        self.machines = [Machine(lab, image, number, home) for number in (1, 2, 3)]
        for machine in self.machines:
            lab.plug(machine.name)

    def each(self, do: Callable[[Machine], T], machines: Sequence[Machine] = ()) -> list[T]:
        """Do something on all machines, or on these, at once."""
        with ThreadPoolExecutor(len(self.machines)) as pool:
            return list(pool.map(do, machines or self.machines))

    def learning(self, *, on: bool) -> None:
        """Have the switch learn who is where, or be a hub; it forgets what it knew."""
        for port in self.lab.ports.values():
            shell(
                self.lab, "segment", f"bridge link set dev {port} learning {'on' if on else 'off'}"
            )
        shell(self.lab, "segment", "ip link set br0 type bridge fdb_flush")

    @property
    def logs(self) -> Path:
        """Where logs are kept when something fails."""
        return cache() / "logs" / self.system.suite

    def keep_logs(self, name: str) -> Path:
        into = self.logs / name
        self.each(lambda machine: machine.keep_logs(into))
        return into


@contextmanager
def bed(image: Image, package: Path) -> Iterator[Bed]:
    """Switch three machines on, and wait for them."""
    with locked(cache() / "bed.lock"):
        with suppress(UsageError):  # left by tests that were killed: the lock is ours
            Segment.find(_NAME).down()
        with (
            tempfile.TemporaryDirectory(prefix="machines-") as home,
            Segment.up(_NAME, hosts=1) as lab,
        ):
            yield from _booted(lab, image, package, Path(home))


def _booted(lab: Segment, image: Image, package: Path, home: Path) -> Iterator[Bed]:
    made = Bed(lab, image, package, home)
    lab.config.write_text(CLUSTER)
    _etcd(lab, home)
    began = time.monotonic()
    try:
        made.each(Machine.start)
        made.each(Machine.up)
        made.boot_seconds = time.monotonic() - began
    except BaseException:
        made.keep_logs("boot")
        raise
    yield made


def _etcd(lab: Lab, home: Path) -> None:
    url = f"http://{plan.host_address(1)}:2379"
    words = ["etcd", "--data-dir", f"{home}/etcd", "--advertise-client-urls", url]
    words += ["--listen-client-urls", "http://0.0.0.0:2379"]
    with (home / "etcd.log").open("w") as log:
        lab.popen(STORE, words, stdout=log, stderr=log)
    until(lambda: lab.run(STORE, ["curl", "-sf", f"{url}/health"]).returncode == 0, what="etcd")
