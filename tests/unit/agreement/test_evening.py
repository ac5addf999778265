"""Hosts that even the load, each by its own part: at once where somebody comes, slowly else."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.agreement.stage import Stage
from tests.unit.agreement.world import BUCKETS, Host, World
from vipnft.agreement.effects import Wish
from vipnft.agreement.evening import Evening, Scales, _Weighed
from vipnft.agreement.loads import ENOUGH_PERIODS, NAMED, Load, Spending, carried
from vipnft.agreement.outlook import Outlook
from vipnft.buckets.balance import shares
from vipnft.model import Owners

SIZE = 64
NO_SALT = b""


class Cluster:
    """Hosts that look at the table and all keys, and then give their own, one after another."""

    def __init__(self, owners: Owners, rates: Sequence[float], hosts: str) -> None:
        self.owners, self.rates = owners, list(rates)
        self.weights = dict.fromkeys(hosts, 1)
        self.minds = {host: Evening() for host in hosts}
        self.periods = dict.fromkeys(hosts, 10)
        self.calm, self.busy = True, frozenset[str]()
        self.pinned = frozenset[str]()
        self.costs: list[float] = []  # CPU seconds of a packet, by bucket, where hosts tell of it
        self.telling: Collection[str] = hosts

    def loads(self) -> dict[str, Load]:
        every = {}
        for host, periods in self.periods.items():
            own = {b: self.rates[b] for b, owner in enumerate(self.owners) if owner == host}
            load = Load.of(60.0, periods, own if periods else {}, 0.0)
            if self.costs and host in self.telling:
                cpu = sum(rate * self.costs[bucket] for bucket, rate in own.items())
                load = replace(load, spent=Spending(cpu, load.total, 0.0))
            every[host] = load
        return every

    def turn(self, loads: Mapping[str, Load] | None = None) -> int:
        """Let every host that serves look once, and give what it is to give; return how many
        buckets moved."""
        before = self.owners
        scales = Scales(loads or self.loads(), self.calm, self.busy)
        able = {h: w for h, w in self.weights.items() if h not in self.pinned}
        for mind in map(self.minds.__getitem__, able):  # a move is seen coming
            mind.target(able, self.owners, self.pinned, scales, NO_SALT)
        for host in able:
            target = self.minds[host].target(able, self.owners, self.pinned, scales, NO_SALT)
            gone = set(self.owners) - set(self.weights)  # anybody takes over from the dead
            self.owners = tuple(
                new if owner == host or owner in gone else owner
                for owner, new in zip(self.owners, target, strict=True)
            )
        return sum(a != b for a, b in zip(before, self.owners, strict=True))

    def period(self) -> int:
        """Let a period pass: all have measured once more, and look twice."""
        self.periods = {host: periods + 1 for host, periods in self.periods.items()}
        return self.turn() + self.turn()

    @property
    def busiest(self) -> float:
        return max(shares(self.owners, self.rates, self.weights).values())

    @property
    def hottest(self) -> float:
        cpu = [rate * cost for rate, cost in zip(self.rates, self.costs, strict=True)]
        return max(shares(self.owners, cpu, self.weights).values())


def skewed(hosts: str = "abcd", seed: int = 1) -> Cluster:
    chance = random.Random(seed)
    owners = tuple(hosts[b % len(hosts)] for b in range(SIZE))
    rates = [chance.uniform(20, 300) for _ in range(SIZE)]
    return Cluster(
        owners, [3 * r if o == "a" else r for r, o in zip(rates, owners, strict=True)], hosts
    )


def test_it_evens_slowly_and_rests() -> None:
    cluster = skewed()
    assert cluster.turn() == 0  # who has begun waits for what is measured next
    before, moved = cluster.busiest, 0
    for _ in range(40):
        count = cluster.period()
        assert count <= 2  # of four hosts each has a part in one move
        moved += count
    assert before > 1.5
    assert cluster.busiest < 1.06
    assert 0 < moved < 30
    assert sum(cluster.period() for _ in range(5)) == 0


def test_by_cpu_that_is_as_packets_are_the_same_moves_are_made() -> None:
    by_packets, by_cpu = skewed(), skewed()
    by_cpu.costs = [0.0002] * SIZE
    for _ in range(40):
        assert by_cpu.period() == by_packets.period()
        assert by_cpu.owners == by_packets.owners
    assert " of its share of CPU, " in by_cpu.minds["a"].why
    assert " of its share of packets, " in by_packets.minds["a"].why


def dear(telling: str = "abcd") -> Cluster:
    """Return hosts that are even by packets, of which one bucket's cost ten times the others'."""
    cluster = Cluster(tuple("abcd"[b % 4] for b in range(SIZE)), [100.0] * SIZE, "abcd")
    cluster.costs, cluster.telling = [0.0001] * SIZE, telling
    cluster.costs[0] *= 10
    return cluster


@pytest.mark.parametrize("telling", ["", "abc"])
def test_by_packets_a_bucket_that_costs_more_makes_cpu_uneven(telling: str) -> None:
    cluster = dear(telling)
    assert sum(cluster.period() for _ in range(40)) == 0
    assert cluster.hottest > 1.3
    assert "packets" in cluster.minds["a"].why


def test_by_cpu_others_move_away_from_a_bucket_that_costs_more_and_then_rest() -> None:
    cluster = dear()
    moved = sum(cluster.period() for _ in range(60))
    assert cluster.hottest < 1.12
    assert 0 < moved < 20
    assert sum(cluster.period() for _ in range(60)) == 0


def test_when_cpu_is_told_no_more_packets_count_again() -> None:
    cluster = dear()
    for _ in range(60):
        cluster.period()
    assert cluster.busiest > 1.1
    cluster.telling = "acd"
    for _ in range(60):
        cluster.period()
    assert cluster.busiest < 1.06


def test_what_a_bucket_weighed_in_cpu_is_no_measure_of_packets() -> None:
    cluster, weighed = dear(), _Weighed()
    weighed.look(cluster.owners, cluster.loads(), "abcd")
    cluster.owners = ("b", *cluster.owners[1:])
    assert max(weighed.look(cluster.owners, cluster.loads(), "abcd")) < 1
    cluster.telling = ""
    assert min(weighed.look(cluster.owners, cluster.loads(), "abcd")) > 50


def test_what_came_by_cpu_stays_and_twice_as_long_when_it_comes_again() -> None:
    cluster, weighed = dear(), _Weighed()

    def look(rushing: str = "", able: str = "abcd") -> bool:
        weighed.look(cluster.owners, cluster.loads(), able, rushing)
        return 0 in weighed.staying

    def come(to: str, **circumstances: str) -> int:
        """Return for how many periods of its new owner's it stays."""
        cluster.owners = (to, *cluster.owners[1:])
        periods = 0
        while look(**circumstances):
            cluster.periods[to] += 1
            periods += 1
        return periods

    assert not look()
    assert come("b") == 30
    assert come("c") == 60
    assert come("a") == 120
    assert come("b", rushing="b") == 0  # at once, whatever it moves by
    assert come("c") == 30
    assert come("d", able="abd") == 0  # from one that serves no more
    assert come("a") == 30
    cluster.periods["a"] += 960
    look()
    assert come("b") == 30
    cluster.owners = ("c", *cluster.owners[1:])
    assert look()
    cluster.telling = ""
    assert not look()
    assert come("a") == 0


def test_who_has_little_is_no_newcomer() -> None:
    cluster = skewed()
    cluster.rates = [
        r * 20 if o == "a" else r for r, o in zip(cluster.rates, cluster.owners, strict=True)
    ]
    cluster.turn()
    assert min(shares(cluster.owners, cluster.rates, cluster.weights).values()) < 0.2
    assert cluster.period() <= 2


@pytest.mark.parametrize("fault", ["fails", "young"])
def test_nothing_moves_by_load_while_anything_fails_or_is_unknown(fault: str) -> None:
    cluster = skewed()
    cluster.turn()
    cluster.calm = fault != "fails"
    if fault == "young":
        cluster.periods["b"] = -ENOUGH_PERIODS
        cluster.periods = {h: max(n, 0) for h, n in cluster.periods.items()}
    moved = cluster.period() + (cluster.period() if fault == "fails" else 0)
    assert moved == 0


def test_who_has_a_part_in_a_move_gets_no_other() -> None:
    cluster = skewed()
    cluster.turn()
    cluster.busy = frozenset("ab")
    before = cluster.owners
    cluster.period()
    changed = {
        x for pair in zip(before, cluster.owners, strict=True) if len(set(pair)) > 1 for x in pair
    }
    assert not changed & {"a", "b"}


def test_who_comes_gets_its_share_at_once_though_each_gives_its_own_part() -> None:
    cluster = skewed()
    for _ in range(40):
        cluster.period()
    cluster.minds["e"], cluster.weights["e"], cluster.periods["e"] = Evening(), 1, 0
    cluster.calm = False
    moved = cluster.turn() + cluster.turn()
    assert shares(cluster.owners, cluster.rates, cluster.weights)["e"] > 0.9
    assert cluster.busiest < 1.1
    assert moved <= SIZE / 3
    assert cluster.turn() == 0


def test_what_the_dead_had_is_shared_and_nothing_else_moves() -> None:
    cluster = skewed()
    for _ in range(40):
        cluster.period()
    before, loads = cluster.owners, cluster.loads()
    del cluster.minds["d"], cluster.weights["d"]
    cluster.turn(loads)
    kept = [(a, b) for a, b in zip(before, cluster.owners, strict=True) if a != "d"]
    assert all(a == b for a, b in kept)
    assert "d" not in cluster.owners
    assert cluster.busiest < 1.15


def test_what_those_have_that_can_not_hear_stays() -> None:
    cluster = skewed()
    cluster.turn()
    cluster.pinned = frozenset("a")
    before = cluster.owners
    cluster.period()
    assert cluster.owners == before


def test_another_weight_counts_at_once() -> None:
    cluster = skewed()
    for _ in range(40):
        cluster.period()
    cluster.weights = cluster.weights | {"a": 2}
    cluster.turn()
    assert cluster.busiest < 1.1


def test_hosts_share_by_number_what_nobody_asks_for() -> None:
    cluster = Cluster(("a",) * SIZE, [0.0] * SIZE, "abcd")
    cluster.turn()
    assert sorted(cluster.owners.count(host) for host in "abcd") == [16] * 4


def test_what_was_balanced_stays_when_all_agents_begin_anew() -> None:
    cluster = skewed()
    for _ in range(40):
        cluster.period()
    before = cluster.owners
    cluster.minds = {host: Evening() for host in cluster.minds}
    for host in cluster.periods:
        cluster.periods[host] = 0
        cluster.turn()
    assert cluster.owners == before


def test_without_a_word_of_one_host_all_is_dealt_by_number() -> None:
    owners = ("a", "a", "a", "b")
    assert Outlook("a").target({"a": 1, "b": 1}, owners, None, set()).count("a") == 2


RATES = st.dictionaries(st.integers(0, 65535), st.just(0.0) | st.floats(0.001, 1e6), max_size=200)


@given(RATES, st.integers(0, 2**32 - 1), st.floats(0, 1e6))
def test_a_load_is_read_as_it_was_written_and_small(
    rates: dict[int, float], periods: int, doubt: float
) -> None:
    load = Load.of(60.0, periods, rates, doubt)
    assert Load.read(load.dump()) == load
    assert len(load.dump()) < 400
    assert load.total == pytest.approx(sum(rates.values()), rel=1e-5)
    assert len(load.heaviest) == (min(len(rates), NAMED) if load.total else 0)
    for bucket, much in load.heaviest:
        assert much == pytest.approx(rates[bucket], rel=1e-3, abs=load.total * 1e-6 + 1e-6)


@pytest.mark.parametrize("junk", ["", "AAAA", "a b", "A" * 28 + "AAA=", "A" * 600, "/" * 28])
def test_what_nobody_measured_is_no_load(junk: str) -> None:
    with pytest.raises(ValueError, match=r"load|base64|padding|data|ascii"):
        Load.read(junk)


def test_what_is_not_named_is_told_by_its_mean() -> None:
    rates = dict.fromkeys(range(NAMED), 1000.0) | dict.fromkeys(range(NAMED, 2 * NAMED), 10.0)
    loads = {"a": Load.of(60.0, 5, rates, 0.0), "b": Load(60.0)}
    owners = ("a",) * (2 * NAMED) + ("b",)
    found = carried(owners, loads)
    assert found[0] == pytest.approx(1000, rel=1e-3)
    assert found[NAMED] == found[-1] == pytest.approx(10, rel=0.1)


class Wild(World):
    """Hosts to which anything may happen, and whose loads are other ones at each beat."""

    def wish(self, host: Host) -> Wish:
        chance = self.draw.random
        rates = {b: 1000.0 * chance() ** 4 for b in range(BUCKETS) if chance() < 0.7}
        load = Load.of(1.0, int(self.now * 3), rates, 10 * chance())
        return replace(super().wish(host), carries=load if chance() < 0.999 else None)


@pytest.mark.parametrize("seed", range(3))
def test_no_overlap_whatever_is_said_of_loads(seed: int) -> None:
    world = Wild(seed)
    for host in world.hosts.values():
        world.start(host)
    for _ in range(4000):
        world.step()
    assert world.moved > 50


class Skewed(Stage):
    """Hosts that tell of loads at random, and measure once a second."""

    def wish(self, host: Host) -> Wish:
        chance = random.Random(f"{host.name}{int(self.now)}")
        rates = {b: 1000.0 * chance.random() ** 4 for b in sorted(host.part.owned)}
        load = Load.of(1.0, int(self.now), rates, 0.0)
        return replace(super().wish(host), carries=load)


@pytest.mark.parametrize("seed", range(3))
def test_nobody_answers_twice_and_hardly_ever_nobody_while_loads_change_wildly(seed: int) -> None:
    stage = Skewed(seed)
    stage.begin("a", "b")
    stage.run(8)
    stage.forget()
    moved = stage.moved
    stage.run(60)
    assert stage.moved > moved + 5
    assert sorted(stage.serving()) == [*range(BUCKETS)]
    assert stage.dark < 0.3
