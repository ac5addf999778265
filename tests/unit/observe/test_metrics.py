"""The metrics: well formed by Prometheus' own judgement, and only what is known."""

import json
import re
import subprocess
from dataclasses import replace

import pytest

from tests.unit.observe.snapshots import written
from tests.unit.observe.test_status_report import NATIVE
from vipnft.observe import metrics
from vipnft.ruleset.stage import StageFacts

FOUND = json.loads(written())


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


STAGED = json.loads(written(stage=NATIVE))


@pytest.mark.parametrize(
    "found", [None, json.loads(written(agent=None)), FOUND, STAGED], ids=range(4)
)
def test_promtool_finds_nothing_to_say(found: dict[str, object] | None) -> None:
    said = metrics.text(found, "1", buckets=True)
    check = ["promtool", "check", "metrics"]
    done = subprocess.run(check, input=said, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_a_host_has() -> None:
    found = samples(metrics.text(FOUND, "1"))
    assert found['vipnft_host_info{cluster="dns",host="web1",mode="switch"}'] == 1
    assert found['vipnft_buckets{state="owned"}'] == 3
    assert found['vipnft_buckets{state="joining"}'] == 2
    assert found["vipnft_cluster_buckets"] == 6
    assert found["vipnft_taken_packets_total"] == 1010
    assert found["vipnft_draining_connections"] == 3
    assert found["vipnft_takeovers_total"] == 1
    assert found["vipnft_promises_carry"] == 0
    assert found['vipnft_member_unheard{member="web2"}'] == 0
    assert found['vipnft_member_unheard{member="web3"}'] == 1
    assert 'vipnft_member_unheard{member="web1"}' not in found
    assert found['vipnft_member_state{member="web1",state="silent"}'] == 1
    assert found['vipnft_member_state{member="web1",state="serving"}'] == 0
    assert found['vipnft_check_up{check="2 exec ...: the agent\'s log has its words"}'] == 0
    assert found['vipnft_store_request_duration_seconds_bucket{le="+Inf"}'] == 1
    assert found['vipnft_store_request_duration_seconds_bucket{le="2.5"}'] == 0
    assert found['vipnft_beat_duration_seconds_bucket{le="0.005"}'] == 1
    assert found["vipnft_beat_duration_seconds_count"] == 1
    assert found["vipnft_serving"] == 1


def test_what_the_xdp_stage_does() -> None:
    assert "stage" not in metrics.text(FOUND, "1")
    found = samples(metrics.text(STAGED, "1"))
    assert found['vipnft_stage_attached{interface="eth0",where="native"}'] == 1
    assert found['vipnft_stage_attached{interface="eth0",where="generic"}'] == 0
    dropped = 'vipnft_stage_dropped_packets_total{interface="eth0"}'
    assert found[dropped] == sum(NATIVE.dropped) > 0
    # Nobody may read it, or there is none: that is not 0.
    for other in (replace(NATIVE, dropped=()), StageFacts(refused="no libbpf")):
        found = samples(metrics.text(json.loads(written(stage=other)), "1"))
        assert dropped not in found
        attached = found['vipnft_stage_attached{interface="eth0",where="native"}']
        assert attached == bool(other.where)


def test_a_host_without_a_lease_serves_nobody() -> None:
    agent = {**FOUND["agent"], "lease": {**FOUND["agent"]["lease"], "left": 0}}
    assert samples(metrics.text({**FOUND, "agent": agent}, "1"))["vipnft_serving"] == 0


def test_buckets_are_told_to_who_asks() -> None:
    assert "bucket_packets" not in metrics.text(FOUND, "1")
    assert (
        samples(metrics.text(FOUND, "1", buckets=True))['vipnft_bucket_packets_total{bucket="0"}']
        == 1000
    )


def test_of_nothing_the_build_alone_is_told() -> None:
    assert list(samples(metrics.text(None, "1"))) == ['vipnft_build_info{version="1"}']


def test_labels_are_quoted() -> None:
    status = {**FOUND["status"], "cluster": 'a"b\\c\nd'}
    text = metrics.text({**FOUND, "status": status}, "1")
    assert re.search(r'cluster="a\\"b\\\\c\\nd"', text)
