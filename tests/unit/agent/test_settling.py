"""When a host that came back takes buckets."""

import pytest

from vipnft.agent.settling import Settling


class Clock:
    """A host that looks five times a second."""

    def __init__(self) -> None:
        self.settling, self.now = Settling(5.0, 1.0), 100.0

    def run(self, seconds: float, *, well: bool = True, owns: bool = False) -> float:
        """Be so for so long; return how long it is to wait in the end."""
        left = 0.0
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            left = self.settling.look(self.now, well=well, owns=owns)
        return left

    def returns(self) -> float:
        """Fall out for a moment, and come back; return how long it waits."""
        self.run(1, well=False)
        return self.run(0.2)


def test_who_starts_or_comes_back_waits_until_it_has_been_well() -> None:
    clock = Clock()
    assert clock.run(0.2) == pytest.approx(5.0)
    assert clock.run(4.0) == pytest.approx(1.0)
    clock.run(0.2, well=False)
    assert clock.run(0.2) == pytest.approx(5.0)
    assert clock.run(5.2) == 0.0


def test_what_a_host_owns_it_serves() -> None:
    clock = Clock()
    assert clock.run(0.2, owns=True) == 0.0
    assert clock.run(0.2) == pytest.approx(4.8), "taken over from: its table was old"
    assert clock.run(0.2, well=False, owns=True) == 0.0


def test_who_did_not_look_for_a_lease_was_not_well() -> None:
    clock = Clock()
    assert clock.run(30) == 0.0
    clock.now += 10  # stopped, and continued
    assert clock.run(0.2) == pytest.approx(10.0)


def test_a_flap_soon_after_a_return_doubles_the_wait_up_to_a_limit() -> None:
    clock = Clock()
    clock.run(6)
    waits = []
    for _ in range(6):
        waits.append(round(clock.returns()))
        clock.run(waits[-1] + 2)
    assert waits == [10, 20, 40, 60, 60, 60]
    assert clock.settling.again == 6
    clock.run(61)
    assert round(clock.returns()) == 5
    assert clock.settling.again == 0


def test_a_flap_before_a_return_is_no_return() -> None:
    clock = Clock()
    for _ in range(20):
        assert clock.returns() == pytest.approx(5.0)


def test_who_is_not_to_wait_does_not() -> None:
    settling = Settling(0.0, 1.0)
    assert settling.look(5.0, well=True, owns=False) == 0.0
    settling.look(5.2, well=False, owns=False)
    assert settling.look(5.4, well=True, owns=False) == 0.0
