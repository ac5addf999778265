"""A size that can't hold its lease is refused, with the numbers."""

import time
from dataclasses import replace

import pytest

from tests.samples import small
from vipnft.host.timely import untimely
from vipnft.kernel import scratch
from vipnft.model import Agents, Cluster


def cluster(lease: float, beat: float) -> Cluster:
    return replace(small(buckets=65536), agents=Agents(lease=lease, beat=beat))


@pytest.mark.parametrize(
    ("lease", "beat", "seconds", "fits"),
    [
        (1.0, 0.2, 0.54, True),
        (1.0, 0.2, 0.56, False),
        (3.0, 0.6, 1.6, True),
        (1.0, 0.9, 0.0, False),
    ],
)
def test_what_a_lease_leaves_for_a_change(
    lease: float, beat: float, seconds: float, fits: bool
) -> None:
    assert (untimely(cluster(lease, beat), seconds) is None) == fits


def test_the_numbers_are_said_and_the_advice_is_enough() -> None:
    why = untimely(cluster(1.0, 0.2), 1.234)
    assert why
    assert "65536 buckets" in str(why)
    assert "1.23 s" in str(why)
    assert "0.55 s" in str(why)
    assert '"3s"' in why.fix
    assert untimely(cluster(3.0, 0.6), 1.234) is None


def test_a_trial_tells_what_a_change_takes() -> None:
    """To make it is part of it; to wait is not."""
    done: list[dict[str, object]] = [{"add": {"table": {"family": "inet", "name": "t"}}}]

    def busy() -> list[dict[str, object]]:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return done

    def idle() -> list[dict[str, object]]:
        time.sleep(0.5)
        return done

    assert scratch.price([], busy, ["eth0"]) >= 0.2
    assert scratch.price([], idle, ["eth0"]) < 0.4
