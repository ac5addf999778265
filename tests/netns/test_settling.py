"""Hosts that come back, and cables that flap: who is given buckets, and when."""

import re
import time
from functools import partial
from pathlib import Path

from tests.netns.cast import clients_of, pinging, serving
from tests.netns.conftest import LabUp
from tests.netns.support import PACE, shell, until
from tests.netns.test_failover import even, once

LONG_S = min(300.0 * PACE, 600.0)
"""A time to settle that no test waits for."""
BACK_S = 1.5 * PACE
"""For how long a cable is in: buckets that came back at once would be here by then."""


def test_who_comes_back_waits(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path, settle=3 * PACE) as cast:
        even(cast)
        with pinging(lab, tmp_path, clients_of(lab, list(range(256)), 8)) as heard:
            cast.running["web2"].kill()
            until(lambda: cast.owned() == [256, 0], what="the takeover")
            cast.start("web2")
            until(lambda: cast.look()["web2"]["state"] == "settling", what="web2 to be back")
            assert cast.owned() == [256, 0]
            even(cast)
        once(heard)
        left = re.findall(r"takes buckets when it has been well for (\d+) s", cast.log("web2"))
        assert left
        assert all(0 < int(seconds) <= 3 * PACE for seconds in left)
        assert cast.look()["web2"]["state"] == "serving"


def test_what_nobody_serves_waits_for_nobody(lab_up: LabUp, tmp_path: Path) -> None:
    """A cluster that starts, one host of two that died, and the last one that dies, too."""
    lab = lab_up(hosts=2)
    began = time.monotonic()
    with serving(lab, tmp_path, settle=LONG_S) as cast:
        until(lambda: sum(cast.owned()) == 256, what="a new cluster")
        until(lambda: "web2" in cast.named_by("web1"), what="web1 to name its heir")
        for host in lab.hosts:
            cast.running[host].kill()
            cast.running[host].wait()
        cast.start("web2")
        until(lambda: cast.owned() == [0, 256], what="the one that returned to serve all")
        cast.start("web1")
        until(lambda: cast.look()["web1"]["state"] == "settling", what="web1 to be back")
        assert cast.owned() == [0, 256]
        until(lambda: "web1" in cast.named_by("web2"), what="web2 to name its heir")
        cast.running["web2"].kill()
        until(lambda: cast.owned() == [256, 0], what="web1, that settles, to take over")
    assert time.monotonic() - began < LONG_S / 2


def test_a_cable_that_flaps_moves_little(lab_up: LabUp, tmp_path: Path) -> None:
    """Four times it is away and back, and buckets come once; each return makes it wait longer."""
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path, settle=4 * PACE) as cast:
        even(cast)

        def came() -> int:
            return len(re.findall(r"[1-9]\d* came", cast.log("web2")))

        def pull(number: int) -> None:
            shell(lab, "segment", "ip link set web2 down")
            until(partial(cast.says, "web2", "can't serve: eth0", number), what="its absence")
            until(lambda: cast.owned() == [256, 0], what="web2 to give all away")
            shell(lab, "segment", "ip link set web2 up")
            until(partial(cast.says, "web2", "no longer: ", number), what="the cable to be in")

        before = came()
        for number in range(4):
            pull(number + 1)
            time.sleep(BACK_S)
        even(cast)
        until(lambda: came() > before, what="web2's word of it")
        assert came() == before + 1
        pull(5)
        until(partial(cast.says, "web2", "soon after a return, 2 in a row"), what="the log")
