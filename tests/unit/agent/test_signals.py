"""No thread of an agent takes a signal: one that it took over a renewal would be lost."""

import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from tests.samples import small
from vipnft.agent.aside import Aside
from vipnft.agent.oracle import Oracle
from vipnft.agent.signals import HANDLED
from vipnft.errors import UsageError
from vipnft.host import asked
from vipnft.model import Owners


def blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_what_is_done_aside_takes_no_signal() -> None:
    masks: list[set[int]] = []
    aside: Aside[None] = Aside("test")
    assert aside.begin(lambda: masks.append(blocked()))
    select.select([aside], [], [])
    assert masks[0] >= HANDLED
    assert not blocked() & HANDLED, "who began it does as before"


def test_who_answers_questions_takes_no_signal(tmp_path: Path) -> None:
    masks: list[set[int]] = []

    def owners() -> Owners:
        masks.append(blocked())
        return ()

    with mock.patch.object(asked, "PATH", tmp_path / "which.sock"):
        assert not Oracle(small(), owners).start()
        while not masks:
            with suppress(UsageError):  # it was slow
                asked.ask("198.51.100.7")
    assert masks[0] >= HANDLED


@pytest.mark.parametrize("told", [False, True])
def test_a_life_that_follows_is_told_to_stop_if_this_one_was(*, told: bool) -> None:
    """It is pending, and exec leaves it so."""
    script = (
        "import signal\n"
        "from vipnft.agent.signals import Signals\n"
        "with Signals() as signals:\n"
        f"    signals.stop = {told}\n"
        "    signals.hand_on()\n"
        "print(signal.SIGTERM in signal.sigpending())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(told)
