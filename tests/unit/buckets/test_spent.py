"""CPU and packets, smoothed alike: through noise, a service's restart, and buckets that come."""

import random

import pytest

from vipnft.buckets.spent import Spent


def test_cpu_and_packets_are_told_a_second_and_grow_surer() -> None:
    spent, chance, used = Spent(), random.Random(1), 0.0
    doubts = []
    for turn in range(40):
        packets = chance.randrange(800, 1200)
        used += packets * 0.001 * chance.uniform(0.9, 1.1)
        spent.look(used, packets, turn * 10.0, moved=False)
        doubts.append(spent.doubt)
    assert spent.periods == 39
    assert spent.cpu / spent.packets == pytest.approx(0.001, rel=0.05)
    assert 0 < doubts[-1] < 0.05 * spent.cpu


def test_a_service_that_was_started_again_used_what_its_count_says() -> None:
    spent = Spent()
    for turn, used in enumerate([100.0, 110.0, 120.0, 9.0, 19.0]):
        spent.look(used, 1000, turn * 10.0, moved=False)
    assert spent.cpu == pytest.approx((10 + 10 + 9 + 10) / 40)


def test_what_was_before_buckets_came_counts_for_little() -> None:
    still, moving = Spent(), Spent()
    used = 0.0
    for turn in range(40):
        used += 10.0 if turn < 30 else 100.0
        for spent in (still, moving):
            spent.look(used, 1000, turn * 10.0, moved=spent is moving and turn == 30)
    assert still.cpu < 6
    assert 8 < moving.cpu < 10


def test_an_idle_host_tells_of_nothing() -> None:
    spent = Spent()
    for turn in range(5):
        spent.look(3.0, 0, turn * 10.0, moved=turn == 2)
    assert (spent.cpu, spent.packets, spent.doubt) == (0.0, 0.0, 0.0)
