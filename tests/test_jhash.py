"""The hash against values from elsewhere; tests/netns asks the kernel that runs."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.jhash import bucket, jhash


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
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(1, 65536),
)
def test_a_bucket_is_in_range(address: int, seed: int, buckets: int) -> None:
    assert 0 <= bucket(IPv4Address(address), seed, buckets) < buckets


def test_addresses_spread_evenly() -> None:
    """A chi-square far outside of chance would mean a hash that is not one."""
    counts = [0] * 256
    for number in range(25600):
        counts[bucket(IPv4Address("10.64.0.0") + number, 0x6D2F1C3B, 256)] += 1
    chi = sum((count - 100) ** 2 / 100 for count in counts)
    assert 150 < chi < 380  # 255 degrees of freedom: mean 255, deviation 22.6
