"""The XDP stage under agents: it follows them, and they see to it."""

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.netns import scenarios
from tests.netns.cast import Agents, serving
from tests.netns.conftest import LabUp
from tests.netns.support import PROGRAMS, plug_in, shell, until
from tests.netns.test_stage import TAMPER, on_eth0, staged, standing
from vipnft.lab.lab import Lab


def test_agents_keep_it_right_whatever_happens_to_them(lab_up: LabUp, tmp_path: Path) -> None:
    """Moves, a stage that somebody takes off, a kill, a new life."""
    lab = staged(lab_up(hosts=3))
    with serving(lab, tmp_path) as cast:
        until(lambda: min(cast.owned()) > 80, what="an even split")
        assert [standing(lab, host) for host in lab.hosts] == ["native"] * 3
        shell(lab, "web1", f"vipnft weight web1 0 --store {cast.url}")
        until(lambda: cast.owned()[0] == 0, what="web1 to give all away")
        until(lambda: not drift(lab), what="the stages to follow")
        shell(lab, "web2", "ip link set eth0 xdp off")
        until(lambda: cast.says("web2", "the XDP stage on eth0 is not there"), what="mending")
        until(lambda: standing(lab, "web2") == "native", what="the stage on web2")
        shell(lab, "web2", TAMPER)
        until(lambda: cast.says("web2", "the XDP stage on eth0 drops "), what="mending")
        until(lambda: not drift(lab), what="the stages to be right")
        cast.running["web3"].kill()
        cast.running["web3"].wait()
        assert all(scenarios.stage_is_right(lab, host) for host in lab.hosts)
        until(lambda: cast.owned()[1] == 256, what="the takeover")
        cast.start("web3")
        until(lambda: min(cast.owned()[1:]) > 100, what="web3 to be back")
        until(lambda: not drift(lab), what="the stages to follow")
        assert all(scenarios.stage_is_right(lab, host) for host in lab.hosts)
        watch_an_agent(cast)


def test_agents_follow_what_becomes_of_interface_and_file(lab_up: LabUp, tmp_path: Path) -> None:
    lab = staged(lab_up(hosts=2))
    with serving(lab, tmp_path) as cast:
        until(lambda: standing(lab, "web1") == "native", what="the stage")
        # Another's program in its place stays, and is told; once it goes, ours is back.
        shell(lab, "web1", f"{sys.executable} {PROGRAMS}/other_xdp.py")
        until(lambda: cast.says("web1", "another XDP program is on it"), what="it to be told")
        assert on_eth0(lab, "web1") == "somebody"
        shell(lab, "web1", "ip link set eth0 xdp off")
        until(lambda: standing(lab, "web1") == "native", what="the stage to be back")
        # An interface that is made anew.
        shell(lab, "web1", "ip link del eth0")
        plug_in(lab, "web1", "eth0", "back")
        shell(lab, "web1", "ip addr add 192.0.2.1/24 dev eth0")
        until(lambda: cast.says("web1", "eth0 was made anew"), what="the new interface")
        until(lambda: on_eth0(lab, "web1") == "vipnft_foreign", what="the stage on it")
        until(lambda: not drift(lab), what="the stages to be right")
        assert scenarios.stage_is_right(lab, "web1")
        # It is told to have none, and told again.
        text = lab.config.read_text()
        for now, name in (("off", ""), ("auto", "vipnft_foreign")):
            lab.config.write_text(text.replace('xdp = "auto"', f'xdp = "{now}"'))
            cast.running["web1"].send_signal(signal.SIGHUP)
            until(partial(is_on_eth0, lab, name), what=f"xdp = {now}")
        # Its agent dies: what it left is taken off by hand.
        cast.running["web1"].kill()
        cast.running["web1"].wait()
        assert on_eth0(lab, "web1") == "vipnft_foreign"
        shell(lab, "web1", "vipnft down")
        assert on_eth0(lab, "web1") == ""


def is_on_eth0(lab: Lab, name: str) -> bool:
    return on_eth0(lab, "web1") == name


def owns(cast: Agents, count: int) -> bool:
    """Tell whether web1 owns so many buckets."""
    return cast.owned()[0] == count


def watch_an_agent(cast: Agents) -> None:
    """Look at each step of a life that takes buckets, gives them away and ends."""
    cast.running["web1"].terminate()
    cast.running["web1"].wait()
    words = [sys.executable, str(PROGRAMS / "watched.py"), "agent", "--switch"]
    agent = cast.lab.popen("web1", [*words, "--store", cast.url], stderr=subprocess.PIPE)
    for weight, goal in ((1, 85), (0, 0), (2, 128)):
        shell(cast.lab, "web1", f"vipnft weight web1 {weight} --store {cast.url}")
        until(partial(owns, cast, goal), seconds=120, what=f"{goal} buckets")
    agent.terminate()
    _, said = agent.communicate()
    assert agent.returncode == 0, said
    assert int(re.findall(r"looked (\d+) times", said)[0]) > 10


def drift(lab: Lab) -> list[str]:
    said = [lab.run(host, ["vipnft", "status", "--json"]).stdout for host in lab.hosts]
    return [line for one in said for line in json.loads(one)["drift"]]
