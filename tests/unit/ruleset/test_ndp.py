"""Neighbour messages as bytes, made and read."""

from ipaddress import IPv6Address

import pytest

from vipnft.ruleset import ndp

VIP, ASKER, MAC = IPv6Address("2001:db8::100"), IPv6Address("fe80::1"), "02:00:00:00:00:07"
ADVERT = ndp.packet(VIP, ASKER, ndp.advertisement(VIP, ASKER, MAC))


def test_an_advertisement_is_read() -> None:
    assert ndp.advertised(ADVERT) == (VIP, MAC)
    assert ndp.advertised(ADVERT[:64] + b"\x0e\1" + bytes(6) + ADVERT[64:]) == (VIP, MAC)
    assert ndp.advertised(ADVERT[:64]) == (VIP, ""), "who says no MAC"


@pytest.mark.parametrize(
    "other",
    [
        b"",
        ADVERT[:63],
        ADVERT[:7] + b"\x40" + ADVERT[8:],  # from beyond the segment
        ADVERT[:6] + b"\x11" + ADVERT[7:],
        ndp.packet(ASKER, ndp.solicited_node(VIP), ndp.solicitation(VIP, ASKER, MAC)),
    ],
)
def test_what_is_none_is_not_read_as_one(other: bytes) -> None:
    assert ndp.advertised(other) is None


@pytest.mark.parametrize("options", [b"\2\0" + bytes(6), b"\2\1\2", b"\0" * 8])
def test_bad_options_are_as_none(options: bytes) -> None:
    assert ndp.advertised(ADVERT[:64] + options) == (VIP, "")
