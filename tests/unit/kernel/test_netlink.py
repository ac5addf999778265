"""Netlink messages: made, split, and asked for."""

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.errors import KernelError
from vipnft.kernel import netlink

ANSWER = 20


def bodies(data: bytes) -> list[tuple[int, int, bytes]]:
    found = netlink.messages(data, len(data))
    return [(kind, number, data[begin:end]) for kind, number, begin, end in found]


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.binary())))
def test_what_was_joined_is_split(several: list[tuple[int, int, bytes]]) -> None:
    joined = [
        netlink.padded(netlink.message(kind, 0, body, number)) for kind, number, body in several
    ]
    assert bodies(b"".join(joined)) == several


@given(st.binary(max_size=200), st.integers(0, 40))
def test_noise_ends_a_datagram_and_costs_nothing_before_it(noise: bytes, cut: int) -> None:
    whole = netlink.message(ANSWER, 0, b"1234") + netlink.message(ANSWER, 0, b"5678")
    found = bodies(whole[: len(whole) - cut] + noise[:cut])
    assert found[:1] == [(ANSWER, 1, b"1234")] or cut > 20
    assert len(bodies(noise)) <= len(noise) / 16


def code(number: int) -> bytes:
    return struct.pack("=i", -number)


def asked(*answers: bytes) -> list[bytes]:
    """Return what `dump` makes of a kernel's datagrams."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        for answer in answers:
            there.send(answer)
        told = netlink.dump(here, ANSWER, b"body", "its sheep")
        found = [data[begin:end] for _, data, begin, end in told]
        assert bodies(there.recv(100)) == [(ANSWER, 1, b"body")]
    return found


def test_a_dump_goes_on_until_it_is_done() -> None:
    def answer(body: bytes) -> bytes:
        return netlink.message(ANSWER, 0, body)

    done = netlink.message(netlink.DONE, 0, code(0))
    more = answer(b"late")
    assert asked(answer(b"one.") + answer(b"two."), answer(b"last") + done + more) == [
        b"one.",
        b"two.",
        b"last",
    ]


@pytest.mark.parametrize("kind", [netlink.ERROR, netlink.DONE])
def test_a_refused_dump_is_an_error_of_ours(kind: int) -> None:
    with pytest.raises(KernelError, match="does not tell its sheep: Operation not permitted"):
        asked(netlink.message(kind, 0, code(errno.EPERM)))
