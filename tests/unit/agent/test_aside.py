"""What takes long goes beside the beats, and has its share of a processor."""

import os
import select
import threading
import time

import pytest

from vipnft.agent.aside import Aside, Outcome
from vipnft.errors import KernelError


def awaited(aside: Aside[int]) -> Outcome[int]:
    poll = select.poll()
    poll.register(aside.fileno(), select.POLLIN)
    assert poll.poll(60_000)
    found = aside.outcome()
    assert found is not None
    return found


def test_whoever_asks_does_not_wait_and_gets_the_outcome_once() -> None:
    aside: Aside[int] = Aside("test")
    go = threading.Event()

    def what() -> int:
        go.wait(60)
        return 7

    assert aside.begin(what)
    assert aside.outcome() is None
    assert not aside.begin(what), "one at a time"
    go.set()
    assert awaited(aside).value == 7
    assert aside.outcome() is None
    assert not select.select([aside], [], [], 0)[0]


def test_an_outcome_that_is_not_told_yet_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks just then goes on, and has it once it is told. (An agent ended: EAGAIN.)"""
    told, write = threading.Event(), os.eventfd_write

    def late(event: int, value: int) -> None:
        told.wait(60)
        write(event, value)

    monkeypatch.setattr("vipnft.agent.aside.os.eventfd_write", late)
    aside: Aside[int] = Aside("test")
    assert aside.begin(lambda: 7)
    while not aside._done.qsize():  # what it is to do is done
        time.sleep(0.001)
    assert aside.outcome() is None
    told.set()
    assert awaited(aside).value == 7


def test_an_error_of_ours_is_an_outcome() -> None:
    aside: Aside[int] = Aside("test")

    def what() -> int:
        raise KernelError("gone")

    assert aside.begin(what)
    found = awaited(aside)
    assert (found.value, str(found.error)) == (None, "gone")


def test_it_rests_for_its_share() -> None:
    """A twentieth of a second of work makes an hour of rest; waiting costs nothing."""
    busy: Aside[int] = Aside("busy", share=100_000)
    assert busy.begin(lambda: sum(range(1_000_000)))
    awaited(busy)
    assert not busy.begin(lambda: 1)
    idle: Aside[int] = Aside("idle", share=1)
    assert idle.begin(lambda: int(threading.Event().wait(0.2)))
    awaited(idle)
    end = time.monotonic() + 60
    while not idle.begin(lambda: 1):
        assert time.monotonic() < end, "it waited, and took next to nothing"
    awaited(idle)
