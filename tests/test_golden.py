"""The rulesets in rulesets/ are what the examples give today, on a real kernel."""

from pathlib import Path

import pytest

from tests.golden import EXAMPLES, RULESETS, golden


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_rendered_again_it_is_the_same(example: Path) -> None:
    for path, text in golden(example):
        assert path.read_text(encoding="utf-8") == text, "run `make golden`, read the diff"


def test_no_file_is_left_over() -> None:
    wanted = {path for example in EXAMPLES for path, _ in golden(example)}
    assert set(RULESETS.iterdir()) == wanted
