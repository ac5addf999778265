"""`make chaos`, in short: faults at random, from a seed that is printed where it fails."""

import random
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.run import Options, run
from tests.netns.labs import name
from tests.netns.support import PACE, sampled
from vipnft.model import StoreLoss

_MINUTES = 0.3 * PACE


@pytest.mark.parametrize("loss", sampled(StoreLoss, StoreLoss.FAILSAFE))
def test_nobody_is_answered_twice_and_every_gap_is_explained(
    tmp_path: Path, loss: StoreLoss
) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    outcome = run(
        Options(name=name("chaos"), minutes=_MINUTES, seed=seed, loss=loss, lease=PACE), tmp_path
    )
    figures = report.figures(
        outcome.verdict, outcome.storm.done, control=outcome.control, minutes=_MINUTES, seed=seed
    )
    assert outcome.is_well, report.text(figures, outcome.verdict, outcome.broken)
    assert outcome.verdict.asked > 1000
    assert outcome.storm.done
