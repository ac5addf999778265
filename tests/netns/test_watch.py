"""`status` while buckets move: time left and live connections, by itself, in a pipe, on a tty."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

from tests.netns import scenarios
from tests.netns.conftest import LabUp
from tests.netns.support import apply_all, nginx, shell, until
from tests.netns.test_moves import Talker
from vipnft.buckets.phases import owners_of


def test_moving_buckets_their_time_and_their_connections(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    apply_all(lab)
    bucket = owners_of(lab.cluster).index("web1")
    clients = [scenarios.client_in(bucket, lab.cluster, skip=n) for n in range(3)]
    with nginx(lab, "web1", tmp_path):
        talkers = [Talker(lab, client) for client in clients]
        shell(lab, "web1", f"vipnft release {bucket} --to web2 --drain 2m")

        def draining() -> dict[str, object]:
            moving = json.loads(shell(lab, "web1", "vipnft status --json"))["moving"]
            (one,) = (m for m in moving if m["state"] == "draining")
            found: dict[str, object] = one
            return found

        first = draining()
        assert first["buckets"] == [bucket]
        assert first["with"] == ["web2"]
        assert first["connections"] == 3
        left = float(str(first["seconds_left"]))
        assert 60 < left <= 120
        until(lambda: float(str(draining()["seconds_left"])) < left, what="time to pass")
        talkers.pop().close()
        until(lambda: draining()["connections"] == 2, what="a connection less")
        line = f"draining    {bucket} to web2, 1 min "
        assert line in shell(lab, "web1", "vipnft status")
        for talker in talkers:
            talker.close()


def test_watch_in_a_pipe_prints_until_the_pipe_closes(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    apply_all(lab)
    watch = lab.popen("web1", ["vipnft", "status", "--watch"], stdout=subprocess.PIPE)
    assert watch.stdout
    seen = 0
    while seen < 2:
        line = watch.stdout.readline()
        assert "\x1b" not in line
        seen += line.startswith("kernel      holds")
    watch.stdout.close()
    assert watch.wait(30) == 1


def test_watch_on_a_terminal_draws_until_interrupted(lab_up: LabUp) -> None:
    lab = lab_up(hosts=3)
    apply_all(lab)
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
    watch = lab.popen(
        "web1",
        ["vipnft", "status", "--watch"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = read_until(ours, b"web3")
    assert re.search(rb"\x1b\[38;", shown), "no colour"
    assert "██".encode() in shown
    watch.send_signal(signal.SIGINT)
    read_until(ours, None)
    assert watch.wait(30) == 0
    os.close(ours)


def read_until(terminal: int, wanted: bytes | None) -> bytes:
    """Read a terminal until something is shown twice (a refresh), or None: to its end."""
    shown = b""
    end = time.monotonic() + 30
    while wanted is None or shown.count(wanted) < 4:
        assert time.monotonic() < end, shown[-500:]
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return shown
        shown += data
    return shown
