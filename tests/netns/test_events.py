"""Events of real agents: in a real journal, in the file, at hooks; in order, every one."""

import json
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.cast import Agents, serving
from tests.netns.conftest import LabUp
from tests.netns.support import configure, shell, until
from tests.netns.test_failover import even
from vipnft.lab.lab import Lab
from vipnft.observe.events import KINDS

JOURNALD = "/usr/lib/systemd/systemd-journald"
FOLDER = "/etc/vipnft/hooks.d"
BURST = 1000

pytestmark = pytest.mark.skipif(not Path(JOURNALD).exists(), reason="no systemd-journald")


@contextmanager
def journal(lab: Lab, host: str) -> Iterator[None]:
    """Have a journal of its own run on a host."""
    shell(lab, host, "mount -t cgroup2 none /sys/fs/cgroup; mkdir -p /run/systemd/journal")
    one = lab.popen(host, [JOURNALD], stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: lab.run(host, ["test", "-S", "/run/systemd/journal/socket"]).returncode == 0,
            what="the journal",
        )
        yield
    finally:
        one.terminate()
        one.wait()


def start(cast: Agents, host: str) -> None:
    """Start an agent as systemd would: what it says goes to the journal."""
    log = cast.home / f"{host}.log"
    log.touch()
    found = log.stat()
    cast.env["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
    cast.start(host)


def journalled(lab: Lab, host: str) -> list[dict[str, Any]]:
    words = ["journalctl", "-D", "/run/log/journal", "-t", "vipnft", "-o", "json", "--no-pager"]
    lab.run(host, ["journalctl", "--sync"])
    return [json.loads(line) for line in lab.run(host, words).stdout.splitlines()]


def events(lab: Lab, host: str) -> list[dict[str, Any]]:
    said = lab.run(host, ["vipnft", "events", "--json"]).stdout
    return [json.loads(line) for line in said.splitlines()]


def kinds(lab: Lab, host: str) -> list[str]:
    return [one["kind"] for one in events(lab, host)]


def hook(lab: Lab, host: str, name: str, text: str) -> None:
    """Lay a hook; the host has an /etc of its own from the first one on."""
    own = "test -d /run/etc || { cp -a /etc /run/etc && mount --bind /run/etc /etc; }"
    shell(lab, host, f"{own}; mkdir -p {FOLDER}")
    lab.run(host, ["sh", "-c", f"cat >{FOLDER}/{name}"], input=f"#!/bin/sh\n{text}\n", check=True)
    shell(lab, host, f"chmod 755 {FOLDER} {FOLDER}/{name}")


def test_who_takes_over_tells_it_everywhere(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    done = lab.run("web1", ["vipnft", "events"])
    assert (done.returncode, "no event is kept here" in done.stderr) == (2, True)
    hook(lab, "web1", "tell", 'printf "%s\\n" "$(cat)" >>/run/told')
    with journal(lab, "web1"), serving(lab, tmp_path, hosts=["web2"]) as cast:
        start(cast, "web1")
        even(cast)
        follower = lab.popen("web1", ["vipnft", "events", "-f"], stdout=subprocess.PIPE)
        cast.running["web2"].kill()
        until(lambda: taken_over(kinds(lab, "web1")), what="the takeover")

        found = events(lab, "web1")  # a late beat may be told at any time, and another after it
        assert found[0]["kind"] == "started"
        assert in_order(one["number"] for one in found)
        at = [one["kind"] for one in found].index("takeover")
        takeover = found[at]
        assert (takeover["peer"], takeover["host"]) == ("web2", "web1")
        assert [one["owned"] for one in found[at:] if one["kind"] == "share"] == [256]

        in_journal = journalled(lab, "web1")
        assert len(in_journal) >= len(found)
        assert in_order(int(one["VIPNFT_NUMBER"]) for one in in_journal)
        assert in_journal[at]["MESSAGE_ID"] == KINDS["takeover"].message_id
        assert in_journal[at]["VIPNFT_PEER"] == "web2"
        assert in_journal[at]["MESSAGE"] == takeover["text"]
        assert cast.log("web1") == ""  # no line of it twice

        until(
            lambda: len(told(lab)) >= len(found),
            what="the hook to be called for all",
        )
        assert in_order(one["number"] for one in told(lab))
        assert told(lab)[: len(found)] == [{**one, "missed": 0} for one in found]
        assert follower.stdout
        shown = [follower.stdout.readline() for _ in found]
        assert shown[at].endswith(f"notice  takeover     {takeover['text']}\n")
        follower.kill()
        follower.wait()

        # A new life in place goes on with the numbers, and with the hooks. One that was cut off is
        # called again.
        cast.running["web1"].send_signal(signal.SIGHUP)
        until(lambda: renewed(kinds(lab, "web1")), what="the new life")
        cast.running["web1"].terminate()
        cast.running["web1"].wait()
        found = events(lab, "web1")
        assert found[-1]["kind"] == "stopped"
        assert in_order(one["number"] for one in found)
        numbers = [one["number"] for one in told(lab)]
        assert numbers == sorted(numbers)
        assert set(numbers) == {one["number"] for one in found}


def in_order(numbers: Iterable[int]) -> bool:
    """Tell whether events' numbers go on from 1, each once."""
    return all(number == place for place, number in enumerate(numbers, start=1))


def taken_over(found: list[str]) -> bool:
    """Tell whether a takeover is told, and the share that came of it."""
    return "takeover" in found and "share" in found[found.index("takeover") :]


def renewed(found: list[str]) -> bool:
    """Tell whether a second life has its share."""
    first = found.index("started")
    return "started" in found[first + 1 :] and "share" in found[found.index("started", first + 1) :]


def told(lab: Lab) -> list[dict[str, Any]]:
    """Return what the hook was told."""
    return [json.loads(line) for line in shell(lab, "web1", "cat /run/told").splitlines()]


def test_a_burst_with_a_hook_that_hangs_moves_no_beat(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    configure(lab, agents=replace(lab.cluster.agents, lease=10.0, beat=1.0))
    hook(lab, "web1", "hang", "echo >>/run/called; sleep 1000")
    with journal(lab, "web1"), serving(lab, tmp_path, hosts=["web2"]) as cast:
        start(cast, "web1")
        even(cast)
        slow = beats(lab)[-1]
        sound = lab.config.read_text()
        lab.config.write_text("nonsense")
        try:
            burst(cast.running["web1"])
        finally:
            lab.config.write_text(sound)
        found = events(lab, "web1")
        assert [one["number"] for one in found] == list(range(1, len(found) + 1))
        said = [one["kind"] for one in found]
        assert said.count("unusable") == BURST
        assert not {"silent", "log_lost"} & set(said)
        assert beats(lab)[-1] == slow
        assert [int(one["VIPNFT_NUMBER"]) for one in journalled(lab, "web1")] == [
            one["number"] for one in events(lab, "web1")
        ]
        assert shell(lab, "web1", "cat /run/called")
        until(lambda: "hook_failed" in kinds(lab, "web1"), what="the hook to be killed")
        (failed,) = (one for one in events(lab, "web1") if one["kind"] == "hook_failed")
        assert failed["text"] == "hook hang: still running after 10 s"
        assert "took over" not in cast.log("web2")


def beats(lab: Lab) -> list[int]:
    """Return how many beats took how long: the last are those that took longer than 2.5 s."""
    said = json.loads(shell(lab, "web1", "cat /run/vipnft/status.json"))
    counts: list[int] = said["figures"]["beat_seconds"]["counts"]
    return counts


def burst(agent: "subprocess.Popen[str]") -> None:
    """Have an agent find its file faulty, again and again."""
    file = Path(f"/proc/{agent.pid}/root/run/vipnft/events.jsonl")

    def faulty() -> int:
        return file.read_text().count('"unusable"')

    while (before := faulty()) < BURST:
        agent.send_signal(signal.SIGHUP)
        until(lambda: faulty() > before, what="the next event")
