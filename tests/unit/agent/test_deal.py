"""What agents tell each other of how clients become buckets, and what that tells nobody."""

from dataclasses import replace

from tests.samples import small
from vipnft.agent.deal import deal
from vipnft.model import Cluster

SECRETS = "0" * 31 + "1", "0" * 31 + "2"


def test_it_is_the_same_where_clients_meet_the_same_buckets_and_owners() -> None:
    several = [
        replace(small(seed=seed, buckets=buckets), secret=secret)
        for seed in (1, 2)
        for buckets in (64, 256)
        for secret in ("", *SECRETS)
    ]
    assert len({deal(one) for one in several}) == len(several)
    for one in several:
        assert deal(one) == deal(replace(one, hosts=one.hosts[:1]))


def test_neither_seed_nor_secret_is_in_it() -> None:
    for one in (small(seed=0xABCDEF12), replace(small(seed=0xABCDEF12), secret=SECRETS[0])):
        assert "abcdef12" not in deal(one)
        assert len(deal(one)) == 64
    assert deal(named("a")) != deal(named("b")), "no table of digests serves for two clusters"


def named(name: str) -> Cluster:
    return replace(small(), name=name)
