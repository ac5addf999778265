"""The hash against values from elsewhere; tests/netns asks the kernel that runs."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.model import Address
from vipnft.ruleset.affinity import CLIENT, HashKey, bucket, key
from vipnft.ruleset.jhash import jhash


# From a C transcript of include/linux/jhash.h.
@pytest.mark.parametrize(
    ("length", "seed", "expected"),
    [
        (0, 0x00000000, 0xDEADBEEF),
        (1, 0x6D2F1C3B, 0x316B3CF0),
        (4, 0xFFFFFFFF, 0x30546369),
        (7, 0x00000000, 0x84D26928),
        (12, 0x6D2F1C3B, 0x71C63CA0),
        (13, 0xFFFFFFFF, 0xBE088556),
        (16, 0x00000000, 0x2405C4A3),
        (24, 0x6D2F1C3B, 0x37F44692),
        (25, 0xFFFFFFFF, 0x3A400E73),
        (32, 0x00000000, 0xC6CA7AE6),
    ],
)
def test_known_values(length: int, seed: int, expected: int) -> None:
    data = bytes((number * 37 + 1) % 256 for number in range(length))
    assert jhash(data, seed) == expected


@given(
    st.ip_addresses(),
    st.integers(0, 2**32 - 1),
    st.integers(1, 65536),
)
def test_a_bucket_is_in_range(address: Address, seed: int, buckets: int) -> None:
    assert 0 <= bucket(CLIENT, address, seed, buckets) < buckets


@pytest.mark.parametrize(
    ("kind", "client", "port", "expected"),
    [
        (CLIENT, "192.0.2.77", 99, "c000024d"),
        (HashKey(24, 64), "192.0.2.77", 99, "c0000200"),
        (HashKey(port=True), "192.0.2.77", 0x1234, "c000024d12340000"),
        (CLIENT, "2001:db8::1:2", 99, "20010db8000000000000000000010002"),
        (HashKey(24, 48), "2001:db8:1:2::3", 99, "20010db8000100000000000000000000"),
        (
            HashKey(port=True),
            "2001:db8::1",
            0x1234,
            "20010db80000000000000000000000011234" + "0000",
        ),
    ],
)
def test_what_is_hashed(kind: HashKey, client: str, port: int, expected: str) -> None:
    assert key(kind, ip_address(client), port).hex() == expected


def test_addresses_spread_evenly() -> None:
    """A chi-square far outside of chance would mean a hash that is not one."""
    counts = [0] * 256
    for number in range(25600):
        counts[bucket(CLIENT, IPv4Address("10.64.0.0") + number, 0x6D2F1C3B, 256)] += 1
    chi = sum((count - 100) ** 2 / 100 for count in counts)
    assert 150 < chi < 380  # 255 degrees of freedom: mean 255, deviation 22.6
