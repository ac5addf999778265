"""An agent that waits is alive, and says so."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vipnft.agent.lateness import Lateness
from vipnft.agent.pace import Pace
from vipnft.agent.signals import HANDLED, Signals
from vipnft.kernel.watch import Watch


@pytest.fixture
def handlers() -> Iterator[None]:
    """The process's handlers of signals, put back at the end."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


@pytest.mark.usefixtures("handlers")
def test_who_waits_for_a_store_or_an_interface_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a renewal the watchdog runs on, for as long as the waiting takes."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    heard: list[bytes] = []

    def listen(manager: socket.socket) -> None:
        try:
            heard.extend(manager.recv(4096) for _ in range(3))
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # which ends the waiting

    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        Watch() as watch,
        Signals() as signals,
    ):
        manager.bind(address)
        manager.settimeout(10)
        listener = threading.Thread(target=listen, args=(manager,))
        listener.start()
        assert not Pace(1.0, watch, signals, Lateness(1.0, 1.0)).pause(60)
        listener.join()
    assert heard == [b"WATCHDOG=1"] * 3
