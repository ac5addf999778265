"""The alerts, by Prometheus' own judgement: each fires on its fault, none on a healthy day; and
they, and the board, ask for metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.observe.snapshots import written
from vipnft.observe import metrics

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool: it comes with prometheus, and with make test"
)
MONITORING = Path(__file__).parents[2] / "packaging/monitoring"
RULES = MONITORING / "vipnft-alerts.yaml"
BOARD = MONITORING / "vipnft-board.json"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
EXPORTED = {
    re.sub("_(bucket|sum|count)$", "", name) if "duration" in name else name
    for name in re.findall(
        r"(?m)^(vipnft_\w+)", metrics.text(json.loads(written()), "1", buckets=True)
    )
}
STEPS = 480  # of 15 s: two hours

Series = dict[str, str]


def healthy(instance: str) -> Series:
    """Return a host's metrics, an hour of them, as promtool writes them down."""
    own = f'instance="{instance}"'

    def flat(value: float) -> str:
        return f"{value}x{STEPS}"

    return {
        f'vipnft_build_info{{{own},version="1"}}': flat(1),
        f'vipnft_host_info{{{own},cluster="dns",host="{instance}",mode="switch"}}': flat(1),
        f'vipnft_config_info{{{own},sha256="aa"}}': flat(1),
        f"vipnft_cluster_buckets{{{own}}}": flat(256),
        f'vipnft_buckets{{{own},state="owned"}}': flat(128),
        f'vipnft_buckets{{{own},state="draining"}}': f"0x20 128x20 0x{STEPS - 40}",
        f"vipnft_ready{{{own}}}": flat(1),
        f"vipnft_lease_seconds{{{own}}}": flat(1),
        f"vipnft_lease_left_seconds{{{own}}}": flat(0.8),
        f"vipnft_store_up{{{own}}}": flat(1),
        f"vipnft_drift{{{own}}}": flat(0),
        f"vipnft_repairs_total{{{own}}}": flat(0),
        f"vipnft_duplicates{{{own}}}": flat(0),
        f"vipnft_hearing{{{own}}}": flat(1),
        f'vipnft_member_unheard{{{own},member="d"}}': flat(0),
        f'vipnft_stray_frames_total{{{own},interface="eth0"}}': flat(0),
        f'vipnft_check_up{{{own},check="1 tcp"}}': flat(1),
        f"vipnft_taken_packets_total{{{own}}}": f"0+150000x{STEPS}",
        f'vipnft_beat_duration_seconds_bucket{{{own},le="0.01"}}': f"0+75x{STEPS}",
        f'vipnft_beat_duration_seconds_bucket{{{own},le="0.5"}}': f"0+75x{STEPS}",
        f'vipnft_beat_duration_seconds_bucket{{{own},le="1.0"}}': f"0+75x{STEPS}",
        f'vipnft_beat_duration_seconds_bucket{{{own},le="+Inf"}}': f"0+75x{STEPS}",
    }


def bad(metric: str, values: str, more: str = "") -> Series:
    """Return one series of host a, which goes wrong after an hour."""
    return {f'vipnft_{metric}{{instance="a"{more}}}': values}


def step(before: float, after: float) -> str:
    return f"{before}x240 {after}x240"


FAULTS: dict[str, Series] = {
    "VipnftBucketsWithoutOwner": bad("buckets", step(128, 100), ',state="owned"'),
    "VipnftBucketsWithTwoOwners": bad("buckets", step(128, 129), ',state="owned"'),
    "VipnftFilesDiffer": bad("config_info", "_x240 1x240", ',sha256="bb"'),
    "VipnftNotReady": bad("ready", step(1, 0)),
    "VipnftSilent": bad("lease_left_seconds", step(0.8, 0)),
    "VipnftUnseen": bad("ready", "1x240 stale"),
    "VipnftStoreAway": bad("store_up", step(1, 0)),
    "VipnftDrift": bad("drift", step(0, 1)),
    "VipnftMendedOften": bad("repairs_total", "0x240 0+1x240"),
    "VipnftDuplicate": bad("duplicates", step(0, 1)),
    "VipnftDeaf": bad("hearing", step(1, 0)),
    "VipnftMemberUnheard": bad("member_unheard", step(0, 1), ',member="d"'),
    "VipnftListenMacSent": bad("stray_frames_total", "0x240 0+1x240", ',interface="eth0"'),
    "VipnftCheckDown": bad("check_up", step(1, 0), ',check="1 tcp"'),
    "VipnftBeatsLate": bad(
        "beat_duration_seconds_bucket", "0+75x240 18000+70x240", ',le="0.01"'
    ) | bad("beat_duration_seconds_bucket", "0+75x240 18000+70x240", ',le="0.5"'),
    "VipnftDrainLong": bad("buckets", step(0, 7), ',state="draining"'),
    "VipnftLoadUneven": bad("taken_packets_total", "0+150000x240 36000000+900000x240"),
}  # fmt: skip


def judged(tmp_path: Path, series: Series, at: str, expression: str, found: list[float]) -> str:
    """Return what promtool says where an expression is to give these values; "": it does."""
    file = tmp_path / "test.yaml"
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": value} for value in found],
            }
        ],
    }
    text = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]}
    file.write_text(json.dumps(text))
    run = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def cluster() -> Series:
    return healthy("a") | healthy("b") | {
        name: values.replace("128x480", "0x480")
        for name, values in healthy("c").items()
    }  # fmt: skip


def test_the_rules_are_sound() -> None:
    run = ["promtool", "check", "rules", "--lint-fatal", str(RULES)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(FAULTS) == set(ALERTS)


def test_a_healthy_day_is_quiet(tmp_path: Path) -> None:
    for at in ("10m", "59m", "119m"):
        assert not judged(tmp_path, cluster(), at, "count(ALERTS)", [])


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_on_its_fault(tmp_path: Path, alert: str) -> None:
    series = cluster() | FAULTS[alert]
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    assert not judged(tmp_path, series, "59m", "count(ALERTS)", [])
    assert not judged(tmp_path, series, "85m", firing, [1])


def test_rules_and_board_ask_for_what_there_is() -> None:
    asked = set()
    for path in (RULES, BOARD):
        words = re.findall(r"(?<!:)\bvipnft_\w+(?![\w:])", path.read_text(encoding="utf-8"))
        asked |= {re.sub("(_duration_seconds)_(bucket|sum|count)$", r"\1", one) for one in words}
    assert len(asked) > 15
    assert not asked - EXPORTED


def test_the_board_is_one_that_grafana_imports() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    assert board["title"] == "vipnft"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["targets"]
        assert panel["datasource"]["uid"] == "${source}"


def test_prometheus_understands_what_the_board_asks(tmp_path: Path) -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [{"record": f"x:{n}", "expr": one} for n, one in enumerate(asked)]
    file = tmp_path / "board.yaml"
    file.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    run = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
