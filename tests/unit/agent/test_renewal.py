"""What the log says of a lease that is not renewed: once, and what is true."""

import pytest

from vipnft.agent.renewal import Renewal
from vipnft.model import StoreLoss

NO_SPACE = "etcd has no space"


def beat(renewal: Renewal, now: float, *, refused: bool) -> list[str]:
    """Arm, beat and grant as an agent does, which asks once more after a beat that failed."""
    said = []
    renewal.armed(1.0, now)
    if refused:
        said = [renewal.failed(NO_SPACE, now), renewal.failed(NO_SPACE, now + 0.01)]
    else:
        renewal.wrote()
        said = [renewal.granted(now)]
    return [line for line in said if line]


def served(loss: StoreLoss = StoreLoss.FENCE) -> Renewal:
    renewal = Renewal(1.0, loss)
    assert beat(renewal, 100.0, refused=False) == []
    return renewal


def test_a_store_that_refuses_for_minutes_is_few_lines() -> None:
    """And reads that it answers meanwhile are no renewal: nobody tells of them here."""
    renewal = served()
    said = [line for n in range(1, 750) for line in beat(renewal, 100 + n / 5, refused=True)]
    assert said[:2] == [
        f"{NO_SPACE}; silent in at most 0.8 s unless it does as asked",
        f"SILENT for 0.0 s, as the lease is not renewed: {NO_SPACE}",
    ]
    assert len(said) == 2 + 149 // 60
    assert "SILENT for 60." in said[2]
    assert renewal.away(250.0) == pytest.approx(149.8)
    assert beat(renewal, 250.0, refused=False) == [
        "the store answers again after 149.8 s, 149.0 s of them silent"
    ]
    assert renewal.away(251.0) == 0


def test_beats_that_fail_now_and_then_are_a_line_a_minute() -> None:
    renewal = served()
    said = [line for n in range(1, 600) for line in beat(renewal, 100 + n / 5, refused=n % 3 == 0)]
    assert [line.split(";")[0] for line in said] == [
        NO_SPACE,
        "the store answers again after 0.2 s",
    ] * 2


def test_a_silence_is_told_however_soon_after_another() -> None:
    renewal = served()
    for start in (100.0, 110.0):
        beat(renewal, start, refused=False)
        said = [line for n in range(1, 10) for line in beat(renewal, start + n / 5, refused=True)]
        assert sum("SILENT" in line for line in said) == 1
        assert "silent" in beat(renewal, start + 2, refused=False)[0]


def test_who_never_had_a_lease_is_silent_from_the_start() -> None:
    renewal = Renewal(1.0, StoreLoss.FENCE)
    assert beat(renewal, 0.0, refused=True) == [f"{NO_SPACE}; silent until it does as asked"]
    assert beat(renewal, 61.0, refused=True) == [f"silent: no beat for 61.0 s: {NO_SPACE}"]


def test_who_holds_is_never_called_silent() -> None:
    renewal = served(StoreLoss.HOLD)
    said = []
    for n in range(1, 400):
        said += beat(renewal, 100 + n / 5, refused=True)
        assert renewal.granted(100 + n / 5) == "", "no beat was done"
    assert said[0] == f"{NO_SPACE}; on_store_loss is hold: carrying on with the last table"
    assert all("carrying on" in line and "silent" not in line.lower() for line in said)
    assert len(said) == 2
    assert beat(renewal, 180.0, refused=False) == ["the store answers again after 79.8 s"]


def test_a_life_that_never_had_a_lease_was_silent_all_the_time() -> None:
    renewal = Renewal(1.0, StoreLoss.FENCE)
    assert beat(renewal, 100.0, refused=True)
    assert beat(renewal, 107.7, refused=False) == [
        "the store answers again after 7.7 s, 7.7 s of them silent"
    ]


def promised(renewal: Renewal, now: float, *lacking: str) -> list[str]:
    """Arm, beat in vain, ask, and grant if all promise."""
    renewal.armed(1.0, now)
    said = [renewal.failed(NO_SPACE, now)]
    renewal.asked({"b", "c"} - set(lacking), dict.fromkeys(lacking))
    if not lacking:
        said.append(renewal.granted(now + 0.01))
    return [line for line in said if line]


def test_who_goes_on_by_promises_says_so_once_a_minute() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    said = [line for n in range(1, 750) for line in promised(renewal, 100 + n / 5)]
    assert said[0] == f"the store is away ({NO_SPACE}): going on by the promises of b, c"
    assert said[1].startswith("for 60.")
    assert said[1].endswith(f" s without the store, by the promises of b, c: {NO_SPACE}")
    assert len(said) == 3
    assert beat(renewal, 250.0, refused=False) == ["the store answers again after 149.8 s"]


def test_beats_that_promises_make_up_for_are_a_line_a_minute() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    said = []
    for n in range(1, 600):
        at = 100 + n / 5
        said += beat(renewal, at, refused=False) if n % 3 else promised(renewal, at)
    assert len(said) == 4
    assert said[1] == "the store answers again after 0.2 s"


def test_a_promise_that_is_lacking_is_a_silence_that_names_it() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    said = [line for n in range(1, 20) for line in promised(renewal, 100 + n / 5, "c")]
    assert said == [
        f"SILENT for 0.0 s, as the lease is not renewed (c didn't promise: no answer): {NO_SPACE}"
    ]
    said = [line for n in range(20, 40) for line in promised(renewal, 100 + n / 5)]
    assert said == [f"for 3.8 s without the store, by the promises of b, c: {NO_SPACE}"]
    said = [line for n in range(40, 60) for line in promised(renewal, 100 + n / 5, "b")]
    assert ["(b didn't promise: no answer)" in line for line in said] == [True]
    assert beat(renewal, 112.0, refused=False) == [
        "the store answers again after 11.8 s, 6.2 s of them silent"
    ]


def test_whether_promises_carry_it_or_who_lacks_is_known() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    promised(renewal, 100.1, "c")
    assert not renewal.is_carried(100.5)  # by the store's, which lasts
    for n in (1, 2):
        promised(renewal, 100 + n / 5)
    assert renewal.is_carried(101.3)
    assert not renewal.is_carried(101.5)
    promised(renewal, 101.6, "c")
    assert not renewal.is_carried(101.6)
    assert renewal.lacking == {"c"}
    beat(renewal, 101.8, refused=False)
    assert not renewal.is_carried(102.0)
    assert not renewal.lacking


def test_many_hosts_are_few_names() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    renewal.armed(1.0, 100.2)
    renewal.failed(NO_SPACE, 100.2)
    renewal.asked([f"web{n}" for n in range(1, 9)], {})
    assert renewal.granted(100.2).endswith("by the promises of web1, web2, web3 and 5 more")


def test_an_outage_that_promises_bridge_is_no_fall() -> None:
    renewal = served(StoreLoss.FAILSAFE)
    assert renewal.is_well(100.5)
    for n in range(1, 50):
        promised(renewal, 100 + n / 5)
        assert renewal.is_well(100.1 + n / 5)
    promised(renewal, 110.0, "c")
    assert not renewal.is_well(111.5)
