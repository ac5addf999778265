"""What the XDP stage is told, and which buckets it may drop."""

import re
from pathlib import Path

import pytest

from tests.samples import small
from vipnft.buckets.phases import FOREIGN, phases
from vipnft.model import Affinity, Protocol, Service
from vipnft.ruleset import stage

ME = "web1"
WEB = Service(protocol=Protocol.TCP, ports=((80, 80),))
DNS = Service(protocol=Protocol.UDP, ports=((53, 53),), affinity=Affinity.FLOW)
NEAR = Service(protocol=Protocol.TCP, ports=((80, 80),), affinity=Affinity.SUBNET)


@pytest.mark.parametrize(
    ("services", "fit"),
    [((), True), ((WEB,), True), ((NEAR,), True), ((DNS,), False), ((WEB, DNS), False),
     ((WEB, NEAR), False)],
)  # fmt: skip
def test_where_ports_decide_nothing_is_dropped(services: tuple[Service, ...], fit: bool) -> None:
    cluster = small(services=services)
    assert bool(stage.unfit(cluster, tagged=False)) is not fit
    assert stage.unfit(cluster, tagged=True)


def test_it_is_told_the_vips_of_its_interface_alone() -> None:
    cluster = small(vips=("192.0.2.100", "2001:db8::100"), seed=7, services=(NEAR,))
    told = stage.told(cluster, cluster.nics(ME)[0])
    assert told[:16] == b"".join(n.to_bytes(4, "little") for n in (7, 256, 1, 1))
    assert told[16:36] == bytes.fromhex("ffffff00" + "ff" * 8 + "00" * 8)
    assert told[36:40] == bytes([192, 0, 2, 100])
    assert told[100:116] == cluster.vips[1].packed
    source = (Path(stage.__file__).parents[1] / "bpf/foreign.c").read_text()
    assert re.search(rf"MOST = {stage.MOST} }}", source)
    assert len(told) == 36 + 4 * stage.MOST + 16 * stage.MOST


def test_more_vips_than_it_looks_for_pass() -> None:
    several = [f"192.0.2.{n}" for n in range(1, 20)]
    every = small(vips=several)
    first = small(vips=several[: stage.MOST])
    assert stage.told(every, every.nics(ME)[0]) == stage.told(first, first.nics(ME)[0])


def test_it_drops_what_the_rules_drop_whatever_it_is() -> None:
    owners = ("web1", "web2", "", "web2", "web1", "web2")
    drains = {3: {"web1": 9.0}, 4: {"web2": 9.0}, 5: {"web3": 9.0}, 1: {"web1": 1.0}}
    found = stage.foreign(owners, drains, ME)
    assert found == {2, 5}
    for now in (0.0, 5.0, 10.0):
        states = phases(owners, drains, ME, now)
        assert all(states[b] == FOREIGN for b in found)


def test_bits_are_where_the_program_looks() -> None:
    assert stage.words({0, 63, 64, 199}, 200) == [1 | 1 << 63, 1, 0, 1 << 7]
    assert stage.words((), 1) == [0]
