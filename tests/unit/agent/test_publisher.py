"""What a snapshot must not tell: the digest of a file leads to nothing secret."""

from dataclasses import replace

from tests.samples import small
from vipnft.agent.oracle import Oracle
from vipnft.config.writer import digest


def test_the_digest_is_of_what_is_no_secret() -> None:
    one = small()
    secret = replace(
        one,
        seed=99,
        secret="ab" * 16,
        agents=replace(one.agents, store="etcd://me:word@10.0.0.1", password_file="word"),  # noqa: S106
    )
    assert digest(one) == digest(secret)
    assert digest(one) != digest(replace(one, buckets=128))
    assert digest(one) != digest(small(hosts=3))


def test_who_asks_whose_a_client_is_learns_no_bucket() -> None:
    oracle = Oracle(small(), lambda: ("web1", "web2") * 128)
    said = oracle.answer(b"198.51.100.7")
    assert b'"host": "web' in said
    assert b"bucket" not in said
    for noise in (b"", b"\xff", b"x" * 65, b"1.2.3.4:99999", b"fe80::1%eth0"):
        assert b"error" in oracle.answer(noise)
    assert b'"host": null' in Oracle(small(), tuple).answer(b"198.51.100.7")
