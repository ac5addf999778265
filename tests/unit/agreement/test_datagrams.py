"""What hosts say by UDP: nothing is believed that another could have made."""

import itertools
from dataclasses import replace

import pytest

from vipnft.agreement.datagrams import LONGEST, Datagram, Kind, fits

ME, OTHER, THIRD = "11" * 16, "22" * 16, "33" * 16
QUESTION = Datagram(
    kind=Kind.QUESTION,
    sender="web1",
    receiver="web2",
    counter=7,
    nonce=b"12345678",
    version=2**63 - 1,
    part="ab" * 16,
)


def test_what_is_sealed_is_read_again() -> None:
    for one in (QUESTION, QUESTION.answer(Kind.PROMISE), replace(QUESTION, version=0, counter=0)):
        data = one.sealed(ME, OTHER)
        assert Datagram.load(data) == one
        assert fits(data, ME, OTHER)


def test_the_longest_names_fit() -> None:
    data = replace(QUESTION, sender="a" * 63, receiver="b" * 63, part="0" * 64).sealed(ME, OTHER)
    assert len(data) <= LONGEST
    assert Datagram.load(data) is not None


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_is_no_longer_than_its_question(kind: Kind) -> None:
    assert len(QUESTION.answer(kind).sealed(ME, OTHER)) <= len(QUESTION.sealed(ME, OTHER))


@pytest.mark.parametrize("pair", list(itertools.product((ME, OTHER, THIRD), repeat=2)))
def test_a_seal_is_of_two_lives_in_their_parts(pair: tuple[str, str]) -> None:
    assert fits(QUESTION.sealed(ME, OTHER), *pair) is (pair == (ME, OTHER))


def test_nothing_of_it_can_be_changed() -> None:
    data = QUESTION.sealed(ME, OTHER)
    for place, bit in itertools.product(range(len(data)), range(8)):
        forged = bytearray(data)
        forged[place] ^= 1 << bit
        assert Datagram.load(bytes(forged)) is None or not fits(bytes(forged), ME, OTHER)


@pytest.mark.parametrize("size", range(len(QUESTION.sealed(ME, OTHER))))
def test_a_piece_of_it_is_nothing(size: int) -> None:
    data = QUESTION.sealed(ME, OTHER)
    assert Datagram.load(data[:size]) is None
    assert Datagram.load(data + bytes(size + 1)) is None


def test_numbers_that_no_store_counts_to_are_nothing() -> None:
    for one in (replace(QUESTION, version=2**63), replace(QUESTION, counter=2**63)):
        assert Datagram.load(one.sealed(ME, OTHER)) is None
