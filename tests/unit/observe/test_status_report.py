"""What `status` says, as text and as a picture; the picture is rich's business, not --help's."""

import io
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from tests.samples import OWN, small
from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State
from vipnft.cli import picture
from vipnft.model import Applied, InterfaceRecord, Mode
from vipnft.observe import status_report
from vipnft.observe.status_report import StatusReport
from vipnft.ruleset.stage import StageFacts

CLUSTER = small(hosts=3, buckets=6)
WORN = {"eth0": InterfaceRecord(index=2, mac=OWN)}
APPLIED = Applied(
    cluster=CLUSTER,
    host="web1",
    mode=Mode.SWITCH,
    owners=("web1", "web1", "web2", "web2", "web3", "web1"),
    worn=WORN,
    drains={1: {"web3": 9e9}, 2: {"web1": 9e9}, 5: {"web2": 9e9}},
)
PHASES = [
    OWNED,
    Phase(State.JOINING, 61),
    Phase(State.DRAINING, 30),
    FOREIGN,
    FOREIGN,
    Phase(State.JOINING, 10),
]
COUNTERS = {0: (1000, 50000), 1: (10, 500), 2: (0, 0), 3: (0, 0), 4: (0, 0), 5: (0, 0)}


def facts(**more: Any) -> StatusReport:
    given = {"drift": (), "stale": "", "phases": PHASES, **more}
    return status_report.build(
        APPLIED,
        COUNTERS,
        given["phases"],
        {2: 3, 1: 2},
        given["drift"],
        given["stale"],
        {"eth0": OWN},
        given.get("strays", {}),
        given.get("stages"),
    )


def test_the_text() -> None:
    assert status_report.text(facts()) == (
        "dns: host web1, switch mode on eth0\n"
        "VIP         192.0.2.100\n"
        "listen MAC  02:bf:c0:00:02:64\n"
        "send MAC    02:00:00:00:00:01\n"
        "buckets     3 of 6 (50.0%): 0-1,5\n"
        "taken       1,010 packets, 50,500 bytes\n"
        "draining    2 to web2, 30 s left, 3 connections here\n"
        "joining     5 from web2, 10 s left, 0 connections here\n"
        "joining     1 from web3, 1 min 1 s left, 2 connections here\n"
        "kernel      holds what was applied"
    )


def test_the_json_is_a_promise_to_programs() -> None:
    said = json.dumps(status_report.document(facts(drift=("address gone",), stale="changed")))
    assert said == (
        '{"cluster": "dns", "host": "web1", "mode": "switch",'
        ' "nics": [{"interface": "eth0", "vips": ["192.0.2.100"],'
        ' "listen_mac": "02:bf:c0:00:02:64", "send_mac": "02:00:00:00:00:01",'
        ' "strays": 0, "stray_ports": "", "stage": null}],'
        ' "buckets": 6, "owned": [0, 1, 5], "share": 0.5,'
        ' "taken": {"packets": 1010, "bytes": 50500}, "moving": ['
        '{"state": "draining", "with": ["web2"], "buckets": [2],'
        ' "seconds_left": 30, "connections": 3},'
        ' {"state": "joining", "with": ["web2"], "buckets": [5],'
        ' "seconds_left": 10, "connections": 0},'
        ' {"state": "joining", "with": ["web3"], "buckets": [1],'
        ' "seconds_left": 61, "connections": 2}],'
        ' "hosts": ["web1", "web2", "web3"],'
        ' "owners": ["web1", "web1", "web2", "web2", "web3", "web1"],'
        ' "bucket_packets": [1000, 10, 0, 0, 0, 0],'
        ' "drift": ["address gone"], "note": "changed",'
        ' "duplicates": []}'
    )


def test_frames_from_the_listen_mac_are_a_warning() -> None:
    lines = status_report.text(facts(strays={"eth0": (1234, "vnet3")})).splitlines()
    assert lines[4].startswith("WARNING     1,234 frames came by port vnet3 from the listen MAC")


def test_a_drain_that_an_agent_ends_has_no_time() -> None:
    (one, *_) = facts(phases=[Phase(State.JOINING, math.inf)] * 6).moving
    assert one.seconds_left is None


def test_a_newcomer_has_one_line_for_all_that_it_joins() -> None:
    phases = [Phase(State.JOINING, 299)] * 6
    applied = {b: {f"web{b % 3 + 2}": 9e9} for b in range(6)}
    said = status_report.build(
        Applied(
            cluster=CLUSTER,
            host="web1",
            mode=Mode.SWITCH,
            owners=("web1",) * 6,
            worn=WORN,
            drains=applied,
        ),
        {},
        phases,
        {},
        (),
        "",
        {"eth0": OWN},
        {},
    )
    (line,) = (line for line in status_report.text(said).splitlines() if line.startswith("joining"))
    assert "0-5 from web2 or web3 or web4, 4 min 59 s left" in line


def test_drift_and_notes_are_told() -> None:
    text = status_report.text(facts(drift=("address gone",), stale="the file has changed"))
    assert "note        the file has changed" in text
    assert text.endswith("kernel      differs from what was applied:\n  address gone")


def drawn(stages: dict[str, StageFacts] | None = None, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=120, **options)
    console.print(picture.draw(facts(stages=stages)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_has_a_cell_a_bucket_and_a_legend() -> None:
    plain = drawn(color_system=None)
    assert "\x1b" not in plain
    assert "██▒▒▒▒████▒▒" in plain
    assert "██ web1  50.0% of the buckets, 1,010 packets" in plain
    assert "▒▒ on the move" in plain
    coloured = drawn(color_system="truecolor", force_terminal=True)
    assert coloured.count("\x1b[38;2;") >= 9


NATIVE = StageFacts(where="native", number=7, ours=True, dropped=(0, 0, 9, 0, 90_000, 1))


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        (NATIVE, "native, 90,010 packets dropped by it, on eth0"),
        (StageFacts(refused="no driver"), "off (no driver) on eth0"),
        (StageFacts(), "off on eth0"),
        (
            StageFacts(where="native", number=5),
            "off (another program is there, number 5) on eth0",
        ),
    ],
)
def test_where_the_xdp_stage_is(stage: StageFacts, line: str) -> None:
    assert f"\nXDP stage   {line}\n" in status_report.text(facts(stages={"eth0": stage}))


def test_with_a_stage_the_load_of_all_buckets_shows() -> None:
    found = facts(stages={"eth0": NATIVE})
    assert found.load == (1000, 10, 9, 0, 90_000, 1)
    assert facts().load == found.bucket_packets == (1000, 10, 0, 0, 0, 0)
    plain = drawn(color_system=None, stages={"eth0": NATIVE})
    assert "██ web3  16.7% of the buckets, 90,000 packets" in plain


def test_load_is_brightness_and_owner_is_colour() -> None:
    steps = [picture.brightness(n, 1000) for n in (0, 1, 10, 100, 1000)]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0.25, 1.0)
    assert picture.brightness(0, 0) == 0.25
    assert len({picture.colour(hue, 1.0) for hue in range(64)}) == 64


@pytest.mark.parametrize("words", [["--help"], ["which", "--help"]])
def test_rich_is_not_imported_where_nothing_is_drawn(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv=['vipnft',*{words}]\n"
        "from vipnft.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'rich.live' not in sys.modules and 'vipnft.cli.picture' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
