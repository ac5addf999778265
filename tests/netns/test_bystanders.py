"""Who has no part in a change is answered all through it, with traffic on every bucket."""

from pathlib import Path

import pytest

from tests.chaos.bystanders import Beside, changed, one_off
from tests.netns.labs import name
from tests.netns.support import sampled


def nobody_beside_it(found: Beside) -> None:
    said = found.verdict
    assert not said.unexplained, "\n".join(
        [str(said.explained), *said.unexplained[:20], *said.around[:60]]
    )
    assert said.double == []
    assert said.asked > 1000


@pytest.mark.parametrize("late", sampled([0.0005, 0.040], 0.040))
def test_clients_that_a_change_is_not_about_never_notice(tmp_path: Path, late: float) -> None:
    """The 200 changes that are promised: `make bench-failover`."""
    found = changed(name("changes"), tmp_path, late=late, times=20)
    nobody_beside_it(found)
    assert found.changes >= 20
    assert found.verdict.moves > 0


def test_one_that_is_off_is_given_nothing(tmp_path: Path) -> None:
    """However often another begins anew. All others, ten times: `make bench-failover`."""
    found = one_off(name("off"), tmp_path, times=1, hosts=1)
    nobody_beside_it(found)
    assert found.given == 0
