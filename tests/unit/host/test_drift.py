"""What differs from what was applied is found and named."""

from dataclasses import replace
from typing import Any

import pytest

from tests.samples import LISTEN, OWN, small
from vipnft.buckets.phases import FOREIGN, OWNED, Phase, State
from vipnft.host.drift import Facts, LinkFacts, drift, skeleton_drift, stage_drift
from vipnft.host.settings import wanted_sysctls
from vipnft.model import Applied, InterfaceRecord, Mode, Xdp
from vipnft.ruleset import stage
from vipnft.ruleset.elements import Cell, cell
from vipnft.ruleset.stage import StageFacts

CLUSTER = small(hosts=1)
TEXT = "table netdev vipnft {\n\tchain rest4 {\n\t\tjhash seed 0x1\n\t\tdrop\n\t}\n}\n"


def applied(mode: Mode) -> Applied:
    owners = ("web1",) * 256
    worn = {"eth0": InterfaceRecord(index=7, mac=OWN)}
    return Applied(cluster=CLUSTER, host="web1", mode=mode, owners=owners, worn=worn)


FILTERS = {Mode.SWITCH: LISTEN, Mode.MULTICAST: "03:bf:c0:00:02:64"}


def sound(mode: Mode, **change: Any) -> Facts:
    link = LinkFacts(
        index=7,
        mac=LISTEN if mode is Mode.HUB else OWN,
        usable=True,
        enslaved=False,
        filters=frozenset(filter(None, [FILTERS.get(mode)])),
        groups=frozenset(["239.255.2.100"] if mode is Mode.IGMP else []),
    )
    return Facts(
        links={"eth0": replace(link, **change)},
        carriers={"192.0.2.100": ("lo",)},
        sysctls={key: values[0] for key, values in wanted_sysctls(["eth0"], mode).items()},
        tables={"netdev": TEXT},
        cells=[cell(OWNED)] * 256,
    )


SHARE = (OWNED,) * 256


@pytest.mark.parametrize("mode", Mode)
def test_a_sound_host_has_no_drift(mode: Mode) -> None:
    assert drift(applied(mode), {"netdev": TEXT}, sound(mode), SHARE) == ()


ARP_IGNORE = "net/ipv4/conf/eth0/arp_ignore"
CASES = [
    ("switch", {"links": {}}, "interface eth0 is gone"),
    ("hub", {"carriers": {"192.0.2.100": ()}}, "192.0.2.100 is gone from lo"),
    ("switch", {"carriers": {"192.0.2.100": ("lo", "eth1")}}, "192.0.2.100 is on eth1"),
    ("switch", {"sysctls": {ARP_IGNORE: "0"}}, f"{ARP_IGNORE} is 0, not 1"),
    ("switch", {"tables": {}}, "nft table netdev vipnft is gone"),
    ("switch", {"tables": {"netdev": TEXT.replace("drop", "")}}, "- chain rest4: drop"),
    ("switch", {"tables": {"netdev": TEXT.replace("0x1", "0x2")}}, "+ chain rest4: jhash seed 0x2"),
]


LINKS = [
    ("switch", {"index": 8}, "made anew"),
    ("switch", {"usable": False}, "no carrier"),
    ("switch", {"enslaved": True}, "a port of a bridge"),
    ("switch", {"mac": LISTEN}, "eth0 itself has the listen MAC"),
    ("switch", {"filters": frozenset()}, "eth0's unicast filter does not have"),
    ("multicast", {"filters": frozenset([LISTEN])}, "eth0's multicast filter does not have"),
    ("igmp", {"groups": frozenset()}, "eth0 has left the group 239.255.2.100"),
    ("hub", {"mac": OWN}, f"eth0's MAC is {OWN}, not the listen MAC"),
]


@pytest.mark.parametrize(("mode", "change", "named"), LINKS)
def test_each_difference_of_an_interface_is_named(
    mode: str, change: dict[str, object], named: str
) -> None:
    found = sound(Mode(mode), **change)
    (line,) = drift(applied(Mode(mode)), {"netdev": TEXT}, found, SHARE)
    assert named in line


@pytest.mark.parametrize(("mode", "change", "named"), CASES)
def test_each_difference_is_named(mode: str, change: dict[str, Any], named: str) -> None:
    found = replace(sound(Mode(mode)), **change)
    assert named in "\n".join(drift(applied(Mode(mode)), {"netdev": TEXT}, found, SHARE))


def test_other_values_that_will_do_are_no_drift() -> None:
    found = replace(sound(Mode.SWITCH), sysctls={ARP_IGNORE: "2"})
    assert drift(applied(Mode.SWITCH), {"netdev": TEXT}, found, SHARE) == ()


def test_a_long_difference_is_cut() -> None:
    long = TEXT.replace("drop\n", "drop\n" + "accept\n" * 50)
    found = replace(sound(Mode.SWITCH), tables={"netdev": long})
    lines = drift(applied(Mode.SWITCH), {"netdev": TEXT}, found, SHARE)
    assert len(lines) == 8
    assert "44 lines more" in lines[-1]


DRAINING, JOINING = Phase(State.DRAINING, 60), Phase(State.JOINING, 60)


@pytest.mark.parametrize(
    ("want", "have", "named"),
    [
        (OWNED, cell(FOREIGN), "bucket 3: foreign in the kernel, not owned"),
        (FOREIGN, cell(OWNED), "bucket 3: owned in the kernel, not foreign"),
        (DRAINING, cell(FOREIGN), "bucket 3: foreign in the kernel, not draining"),
        (JOINING, cell(OWNED), "bucket 3: owned in the kernel, not joining"),
        (OWNED, Cell(), "bucket 3: broken in the kernel, not owned"),
        (OWNED, Cell("take"), "bucket 3: broken in the kernel"),
        (FOREIGN, Cell("leave"), None),  # its drain has ended
        (OWNED, Cell("come", mine=True), None),
        (DRAINING, cell(Phase(State.DRAINING, 50)), None),
        (Phase(State.DRAINING, 0.5), Cell("leave"), None),
        (FOREIGN, cell(Phase(State.DRAINING, 0.5)), None),
        (OWNED, cell(Phase(State.JOINING, 1.0)), None),
    ],
)
def test_a_bucket_that_is_not_what_it_should_be(want: Phase, have: Cell, named: str | None) -> None:
    share = (*SHARE[:3], want, *SHARE[4:])
    found = replace(sound(Mode.SWITCH), cells=[*[cell(OWNED)] * 3, have, *[cell(OWNED)] * 252])
    lines = drift(applied(Mode.SWITCH), {"netdev": TEXT}, found, share)
    assert [named in line for line in lines] == [True] if named else lines == ()


STAGED = replace(
    applied(Mode.SWITCH), cluster=replace(CLUSTER, xdp=Xdp.AUTO), owners=("web2",) * 256
)
TOLD = stage.told(STAGED.cluster, STAGED.nics[0])
RIGHT = StageFacts(where="native", number=3, ours=True, told=TOLD, words=(2**64 - 1,) * 4)
GONE = "the XDP stage on eth0 is not there"
OTHER = "the XDP stage on eth0 was told other VIPs, or another deal"
LESS = "the XDP stage on eth0 lets through 64-66"
OLD = "the XDP stage on eth0 is another version's"
STAGES: list[tuple[Xdp, StageFacts, list[str], list[str]]] = [
    (Xdp.AUTO, RIGHT, [], []),
    (Xdp.NATIVE, RIGHT, [], []),
    (Xdp.GENERIC, replace(RIGHT, where="generic"), [], []),
    (Xdp.AUTO, replace(RIGHT, told=None, words=None), [], []),
    (Xdp.AUTO, replace(RIGHT, old=True), [OLD], [OLD]),
    (Xdp.AUTO, StageFacts(where="native", number=3), [], []),
    (Xdp.AUTO, StageFacts(), [GONE], [GONE]),
    (Xdp.AUTO, StageFacts(refused="no"), [], []),
    (Xdp.NATIVE, StageFacts(refused="no"), [f"{GONE}: no"], []),
    (Xdp.GENERIC, RIGHT, ["the XDP stage on eth0 is native"], ["the XDP stage on eth0 is native"]),
    (
        Xdp.OFF,
        RIGHT,
        ["the XDP stage on eth0 is to be off"],
        ["the XDP stage on eth0 is to be off"],
    ),
    (Xdp.AUTO, replace(RIGHT, told=TOLD[:-1] + b"x"), [OTHER], [OTHER]),
    (Xdp.AUTO, replace(RIGHT, words=(2**64 - 1, 2**64 - 8, *(2**64 - 1,) * 2)), [LESS], [LESS]),
]


@pytest.mark.parametrize(("xdp", "seen", "lines", "retried"), STAGES)
def test_a_stage_that_is_not_as_it_should_be(
    xdp: Xdp, seen: StageFacts, lines: list[str], retried: list[str]
) -> None:
    wanted = replace(STAGED, cluster=replace(STAGED.cluster, xdp=xdp))
    facts = replace(sound(Mode.SWITCH), stages={"eth0": seen})
    assert list(stage_drift(wanted, facts)) == lines
    assert list(stage_drift(wanted, facts, again=False)) == retried


def test_a_stage_that_drops_what_is_ours_or_drains_here() -> None:
    owners = ("web1", "web1", *("web2",) * 254)
    ours = replace(STAGED, owners=owners, drains={2: {"web1": 9.0}, 3: {"web2": 9.0}})
    facts = replace(sound(Mode.SWITCH), stages={"eth0": RIGHT})
    assert stage_drift(ours, facts) == ("the XDP stage on eth0 drops 0-2",)


def test_elements_of_buckets_are_no_part_of_the_text() -> None:
    """Several lines of elements, in a map that moves; the other sets' elements do count."""
    listing = """table netdev vipnft {
	set armed {
		type mark
		elements = { 0x00000000 }
	}

	map buckets {
		type mark : verdict
		elements = { 0x00000000 counter : jump take,
				0x00000001 counter : drop }
	}
}
"""
    bare = listing.replace(
        """		elements = { 0x00000000 counter : jump take,
				0x00000001 counter : drop }
""",
        "",
    )
    assert skeleton_drift({"netdev": bare}, {"netdev": listing}) == ()
    assert skeleton_drift(
        {"netdev": bare}, {"netdev": listing.replace("= { 0x00000000 }", "= { 0x1 }")}
    )
