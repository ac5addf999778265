"""What can be seen of the XDP stage from outside: whether it is on, where, and what it drops."""

import re
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.netns import scenarios
from tests.netns.browser import browser
from tests.netns.cast import serving
from tests.netns.conftest import LabUp
from tests.netns.packets import IPV4, ROUTER, send, udp
from tests.netns.support import LISTEN, PROGRAMS, VIP, apply_all, shell, until
from tests.netns.test_failover import even
from tests.netns.test_observed import SCHEMA, seen, shown
from tests.netns.test_page import URL
from tests.netns.test_stage import staged
from tests.schema import faults
from vipnft.lab.lab import Lab
from vipnft.model import Xdp
from vipnft.observe import metrics
from vipnft.ruleset.ndp import mac

DROPPED = 'vipnft_stage_dropped_packets_total{interface="eth0"}'


def sample(lab: Lab, name: str) -> int | None:
    """Return one of web1's metrics; None if it has none."""
    lines = metrics.text(seen(lab, "web1") or None, "1").splitlines()
    return next((int(one.split()[1]) for one in lines if one.split()[0] == name), None)


def attached(lab: Lab, where: str) -> int | None:
    return sample(lab, f'vipnft_stage_attached{{interface="eth0",where="{where}"}}')


def has_dropped(lab: Lab, more_than: int) -> bool:
    return (sample(lab, DROPPED) or 0) > more_than


def send_to_all(lab: Lab) -> None:
    """Send a packet from a client of each bucket."""
    head = mac(LISTEN) + mac(ROUTER) + IPV4
    clients = [scenarios.client_in(b, lab.cluster) for b in range(256)]
    send(lab, "router", *(head + udp(client, VIP, 9) for client in clients))


def test_an_agent_tells_of_it(lab_up: LabUp, tmp_path: Path) -> None:
    lab = staged(lab_up(hosts=2))
    with serving(lab, tmp_path) as cast, shown(lab, "web1") as ask:
        even(cast)
        until(lambda: attached(lab, "native") == 1, what="the stage to be seen")
        assert attached(lab, "generic") == 0
        before = sample(lab, DROPPED)
        assert before is not None
        send_to_all(lab)
        until(partial(has_dropped, lab, before + 99), what="others' packets to be counted")
        found = seen(lab, "web1")
        assert not faults(found, SCHEMA, SCHEMA)
        (nic,) = found["status"]["nics"]
        mine = set(found["status"]["owned"])
        assert not [b for b, n in enumerate(nic["stage"]["dropped"]) if n and b in mine]
        until(lambda: has_dropped(lab, before + 99) and DROPPED in ask("/metrics")[1])
        with browser(lab, "web1", tmp_path / "chromium") as page:
            page.tell("Page.navigate", url=URL)
            until(
                lambda: re.search(
                    r"XDP stage\s+native, \d+ packets of others dropped by it, on eth0",
                    page.text("#here"),
                ),
                what="the page to say so",
            )
            assert not page.complaints()

        # Another's program in its place: it is off, and says why.
        shell(lab, "web1", f"{sys.executable} {PROGRAMS}/other_xdp.py")
        until(lambda: attached(lab, "native") == 0, what="the stage to be seen off")
        assert sample(lab, DROPPED) is None
        why = seen(lab, "web1")["status"]["nics"][0]["stage"]["why"]
        assert why.startswith("another program is there")
        shell(lab, "web1", "ip link set eth0 xdp off")
        until(lambda: attached(lab, "native") == 1, what="the stage to be back")

        text = lab.config.read_text()
        lab.config.write_text(text.replace('xdp = "auto"', 'xdp = "off"'))
        cast.running["web1"].send_signal(signal.SIGHUP)

        def has_none() -> bool:
            found = seen(lab, "web1")  # none, while the agent begins anew
            return bool(found) and found["status"]["nics"][0]["stage"] is None

        until(has_none, what="none")
        assert attached(lab, "native") is None


@pytest.mark.parametrize(("xdp", "where"), [(Xdp.NATIVE, "native"), (Xdp.GENERIC, "generic")])
def test_a_host_without_an_agent_tells_of_it(lab_up: LabUp, xdp: Xdp, where: str) -> None:
    lab = staged(lab_up(hosts=2), xdp)
    apply_all(lab)
    command = shell(lab, "web1", "command -v vipnft").strip()
    # As its unit runs it, which may not read what another process has loaded.
    bounded = ["setpriv", "--bounding-set=-all,+net_admin", "--no-new-privs", command, "snapshot"]
    for words, reads in (([command, "snapshot"], True), (bounded, False)):
        running = lab.popen("web1", words)
        try:
            until(lambda: attached(lab, where) == 1, what="the stage to be seen")
            assert (sample(lab, DROPPED) is not None) == reads
            if reads:
                before = sample(lab, DROPPED) or 0
                send_to_all(lab)
                until(partial(has_dropped, lab, before + 99), what="others' packets")
            found = seen(lab, "web1")
            assert not faults(found, SCHEMA, SCHEMA)
            assert not found["status"]["drift"]
        finally:
            running.terminate()
            running.wait()
        shell(lab, "web1", "rm -f /run/vipnft/status.json")
