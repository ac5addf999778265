"""A few of what `make fuzz` tries a million of, the same each time."""

import random

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_no_input_is_more_than_an_error_of_ours(name: str) -> None:
    draw, reader = random.Random(16), READERS[name]
    for seed in reader.seeds:
        reader.feed(seed)
    for _ in range(60 * reader.share):
        reader.feed(mutated(draw, reader.seeds))
