"""Labs for tests: each worker has its own names, and none is left behind."""

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns.labs import name
from tests.netns.support import paced
from vipnft.lab.lab import Lab
from vipnft.model import Mode

_NUMBER = itertools.count()

LabUp = Callable[..., Lab]


@pytest.fixture(scope="session", autouse=True)
def conntrack() -> None:
    """Have the kernel load conntrack, where it is a module, as the first rule with `ct` does:
    its settings appear with it, on all hosts, and no test is to see them come."""
    rule = "add table inet x; add chain inet x c; add rule inet x c ct state new accept"
    subprocess.run(["unshare", "--net", "nft", rule], check=True)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Let SIGINT end what tests start, also where a shell made it ignored: behind `make test &`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def lab_up() -> Iterator[LabUp]:
    """Return Lab.up with a name of its own; every lab is taken down in the end."""
    labs: list[Lab] = []
    worker = os.environ.get("PYTEST_XDIST_WORKER", "one")

    def up(**wanted: Any) -> Lab:
        lab = Lab.up(f"test-{worker}-{os.getpid()}-{next(_NUMBER)}", **wanted)
        labs.append(lab)
        paced(lab)
        return lab

    yield up
    for lab in labs:
        lab.down()


@pytest.fixture(scope="module")
def switch() -> Iterator[Lab]:
    """Three hosts at a switch, where nothing is applied."""
    with Lab.up(name("switch"), 3) as lab:
        yield lab


@pytest.fixture(scope="module")
def hub() -> Iterator[Lab]:
    """Three hosts at a hub, where nothing is applied."""
    with Lab.up(name("hub"), 3, Mode.HUB) as lab:
        yield lab
