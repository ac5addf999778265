"""Events of hosts without agents: each command that changes a host tells of it, once."""

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.netns import scenarios
from tests.netns.cast import serving
from tests.netns.conftest import LabUp
from tests.netns.support import VIP, shell, until
from tests.netns.test_events import JOURNALD, events, hook, journal, journalled, kinds, told
from vipnft.buckets.phases import owners_of
from vipnft.lab.lab import Lab
from vipnft.observe.events import KINDS


def numbers(lab: Lab) -> list[int]:
    return [one["number"] for one in events(lab, "web1")]


@pytest.mark.skipif(not Path(JOURNALD).exists(), reason="no systemd-journald")
def test_each_change_is_told_once_everywhere(lab_up: LabUp) -> None:
    lab = lab_up(hosts=3)
    hook(lab, "web1", "tell", 'printf "%s\\n" "$(cat)" >>/run/told')
    owners = owners_of(lab.cluster)
    own, other = owners.index("web1"), owners.index("web2")
    with journal(lab, "web1"):
        shell(lab, "web1", "vipnft apply --switch --dry-run")
        assert not events(lab, "web1")
        shell(lab, "web1", "vipnft apply --switch")
        follower = lab.popen("web1", ["vipnft", "events", "-f"], stdout=subprocess.PIPE)
        assert follower.stdout
        try:
            assert " notice  applied      applied: " in follower.stdout.readline()
            shell(lab, "web1", "vipnft apply --switch")
            shell(lab, "web1", "vipnft apply --switch --dry-run --format json")
            assert kinds(lab, "web1") == ["applied"]

            shell(lab, "web1", f"vipnft release {own} --to web2 --drain 1h")
            refused = lab.run("web1", ["vipnft", "release", f"{own}", "--to", "web2"])
            assert refused.returncode == 2
            shell(lab, "web1", f"vipnft take {other} --from web2 --drain 1h")
            shell(lab, "web1", f"ip addr del {VIP}/32 dev lo; vipnft apply --switch")
            shell(lab, "web1", f"ip addr del {VIP}/32 dev lo; vipnft apply --switch")
            shell(lab, "web1", "vipnft apply --switch --takeover web2")
            shell(lab, "web1", "vipnft down")
            shell(lab, "web1", "vipnft down")
            found = events(lab, "web1")
            shown = [follower.stdout.readline() for _ in found[1:]]
        finally:
            follower.kill()
            follower.wait()
        assert [one["kind"] for one in found] == [
            "applied", "gave", "took", "applied", "mended", "takeover", "stopped",
        ]  # fmt: skip
        assert numbers(lab) == list(range(1, 8))
        assert [line.split(maxsplit=4)[4].strip() for line in shown] == [
            one["text"] for one in found[1:]
        ]
        words_are_right(lab, found, own)
        assert told(lab) == [{**one, "missed": 0} for one in found]
        in_journal = journalled(lab, "web1")
        assert [int(one["VIPNFT_NUMBER"]) for one in in_journal] == numbers(lab)
        assert [one["MESSAGE"] for one in in_journal] == [one["text"] for one in found]
        assert in_journal[5]["MESSAGE_ID"] == KINDS["takeover"].message_id
        assert in_journal[5]["VIPNFT_PEER"] == "web2"


def words_are_right(lab: Lab, found: list[dict[str, Any]], released: int) -> None:
    """See that the events of the test above say what was done."""
    applied, gave, took, back, mended, takeover, _ = found
    count = owners_of(lab.cluster).count("web1")
    assert {(one["host"], one["cluster"]) for one in found} == {("web1", lab.cluster.name)}
    assert (applied["owned"], applied["buckets"]) == (count, 256)
    assert f"({count} came, 0 went)" in applied["text"]
    assert applied["text"].endswith(", switch mode on eth0")
    assert (gave["count"], gave["peer"]) == (1, "web2")
    assert gave["text"].endswith(f"buckets here (0 came, 1 went), draining {released}")
    assert (took["count"], took["peer"]) == (1, "web2")
    assert f"{count} of 256 buckets here (1 came, 1 went)" in back["text"]
    assert VIP in mended["text"]
    assert takeover["peer"] == "web2"
    after = owners_of(lab.cluster, ("web2",)).count("web1")
    assert f": {after} of 256 buckets here ({after - count} came, 0 went)" in takeover["text"]


def test_what_refuses_an_event_stops_no_command(lab_up: LabUp) -> None:
    """A file that none can be written to, and no journal; a hook that fails is told."""
    lab = lab_up(hosts=2)
    shell(lab, "web1", "mkdir -p /run/vipnft/events.jsonl /run/systemd/journal/socket")
    done = lab.run("web1", ["vipnft", "apply", "--switch"])
    assert (done.returncode, done.stderr) == (0, "")
    shell(lab, "web1", "rmdir /run/vipnft/events.jsonl")
    hook(lab, "web1", "fail", "exit 7")
    done = lab.run("web1", ["vipnft", "down"])
    assert (done.returncode, done.stderr) == (0, "vipnft: hook fail: exit code 7\n")
    assert kinds(lab, "web1") == ["stopped", "hook_failed"]


def has_its_share(lab: Lab, life: int) -> bool:
    """Tell whether web1's agent has said what it owns, in this of its lives."""
    said = kinds(lab, "web1")
    began = [at for at, kind in enumerate(said) if kind == "started"]
    return len(began) == life and "share" in said[began[-1] :]


def test_commands_and_an_agent_take_turns(lab_up: LabUp, tmp_path: Path) -> None:
    """At once, over and over: each event has its number, in order, and a line of its own."""
    lab = lab_up(hosts=2)
    text = lab.config.read_text()
    command = shell(lab, "web1", "command -v vipnft").strip()
    files = []
    for n in range(1, 4):
        files.append(f"/run/{n}.toml")
        lab.run("web1", ["sh", "-c", f"cat >{files[-1]}"], check=True,
                input=scenarios.with_weights(text, {"web1": n}))  # fmt: skip
    with serving(lab, tmp_path, hosts=["web2"]) as cast:
        for life in (1, 2):
            several = [
                lab.popen("web1", [command, "apply", "--switch", "--config", file])
                for file in files
            ]
            assert [one.wait() for one in several] == [0, 0, 0]
            assert kinds(lab, "web1")[-1] == "applied"
            down = lab.popen("web1", [command, "down"])
            late = lab.popen("web1", [command, "apply", "--switch"], stderr=subprocess.DEVNULL)
            cast.start("web1")
            down.wait()
            late.wait()
            if cast.running["web1"].poll() is not None:  # what `apply` left is in its way
                shell(lab, "web1", "vipnft down")
                cast.start("web1")
            until(partial(has_its_share, lab, life), what="the agent's share")
            cast.running["web1"].terminate()
            cast.running["web1"].wait()
            shell(lab, "web1", "vipnft down")
        found = events(lab, "web1")
        assert [one["number"] for one in found] == list(range(1, len(found) + 1))
        said = [one["kind"] for one in found]
        assert said.count("started") == 2
        assert said.count("applied") >= 6
        lines = shell(lab, "web1", "cat /run/vipnft/events.jsonl").splitlines()
        assert [json.loads(line)["number"] for line in lines] == [one["number"] for one in found]
