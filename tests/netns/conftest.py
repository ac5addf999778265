"""Labs for tests: each worker has its own names, and none is left behind."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vipnft.lab.lab import Lab

_NUMBER = itertools.count()

LabUp = Callable[..., Lab]


@pytest.fixture
def lab_up() -> Iterator[LabUp]:
    """Return Lab.up with a name of its own; every lab is taken down in the end."""
    labs: list[Lab] = []
    worker = os.environ.get("PYTEST_XDIST_WORKER", "one")

    def up(**wanted: Any) -> Lab:
        lab = Lab.up(f"test-{worker}-{os.getpid()}-{next(_NUMBER)}", **wanted)
        labs.append(lab)
        return lab

    yield up
    for lab in labs:
        lab.down()
