"""What a machine is refused for, mode by mode."""

from dataclasses import replace

import pytest

from tests.samples import LISTEN, OWN, small
from vipnft.host.preflight import Finding, Grade, Machine, findings
from vipnft.kernel.links import Link
from vipnft.model import Applied, InterfaceRecord, Mode

ETH0 = Link(
    index=2,
    name="eth0",
    mac=OWN,
    up=True,
    carrier=True,
    loopback=False,
    master=None,
    promiscuity=0,
    kind="",
    one_mac=False,
)
OTHER = replace(ETH0, index=3, name="eth1", mac=LISTEN)
CLUSTER = small()


def machine(*several: Link) -> Machine:
    return Machine(
        links={link.name: link for link in several},
        every=several,
        carriers={"192.0.2.100": ()},
        conflicts={"192.0.2.100": ""},
    )


def refused(
    of: Machine, mode: Mode | None = None, before: Applied | None = None
) -> list[tuple[Grade, str]]:
    found = list(findings(of, CLUSTER, "web1", mode, before))
    assert all(bool(one.fix) is (one.grade is not Grade.OK) for one in found)
    return [(one.grade, one.what) for one in found if one.grade is not Grade.OK]


def test_a_machine_that_fits() -> None:
    for mode in (None, *Mode):
        found = list(findings(machine(ETH0), CLUSTER, "web1", mode, None))
        assert found == [Finding(Grade.OK, f"eth0 is up, {OWN}")]


def test_what_every_mode_refuses_is_one_fail() -> None:
    down = machine(replace(ETH0, up=False))
    for mode in (None, *Mode):
        assert refused(down, mode) == [(Grade.FAIL, "eth0 is down")]


@pytest.mark.parametrize(
    ("several", "modes", "what"),
    [
        (
            [replace(ETH0, kind="macvlan", one_mac=True)],
            [Mode.SWITCH],
            "eth0 is a macvlan, which listens for no second MAC",
        ),
        (
            [replace(ETH0, mac=LISTEN)],
            [Mode.SWITCH],
            f"eth0's own MAC is the listen MAC {LISTEN}, which no switch may learn",
        ),
        (
            [replace(ETH0, mac=LISTEN)],
            [Mode.HUB],
            f"eth0 has the listen MAC {LISTEN} already, and nothing tells its own",
        ),
        (
            [ETH0, OTHER],
            [Mode.HUB, Mode.SWITCH],
            f"eth1 has the listen MAC {LISTEN}, which no switch may learn",
        ),
    ],
)
def test_what_some_modes_refuse_names_them(
    several: list[Link], modes: list[Mode], what: str
) -> None:
    for mode in Mode:
        assert ((Grade.FAIL, what) in refused(machine(*several), mode)) is (mode in modes)
    named = " or ".join(f"--{mode}" for mode in modes)
    assert (Grade.WARN, f"not with {named}: {what}") in refused(machine(*several))


def test_what_is_applied_may_stay_but_not_in_another_mode() -> None:
    before = Applied(
        cluster=CLUSTER,
        host="web1",
        mode=Mode.HUB,
        owners=(),
        worn={"eth0": InterfaceRecord(index=2, mac=OWN)},
    )
    worn = machine(replace(ETH0, mac=LISTEN))
    assert refused(worn, Mode.HUB, before) == []
    said = [what for _, what in refused(worn, Mode.SWITCH, before)]
    assert said[0] == "this host runs in hub mode, not in switch mode"
