"""The rulesets in rulesets/ are what the examples give today, on a real kernel."""

import warnings
from pathlib import Path

import pytest

from tests.golden import (
    BY_HAND,
    EXAMPLES,
    RULESETS,
    SUMS,
    Golden,
    diff,
    listed,
    listed_by,
    sent,
    version,
    wanted_sums,
)

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@each_example
def test_what_is_sent_is_the_same(example: Path) -> None:
    _is_the_same(sent(example))


@each_example
def test_what_is_listed_is_the_same(example: Path) -> None:
    golden = listed(example)  # the kernel has taken every one of them, whoever lists it
    theirs, ours = listed_by(), version()
    if theirs != ours:
        warnings.warn(
            f"rulesets/ is in the words of libnftables {theirs}, and here is {ours}, which has"
            " others: what is listed was not compared, what is sent was",
            stacklevel=1,
        )
        return
    _is_the_same(golden)


def test_no_file_and_no_sum_is_left_over() -> None:
    all_of_it = [each(example) for example in EXAMPLES for each in (sent, listed)]
    files = {name for golden in all_of_it for name in golden.files}
    assert {path.name for path in RULESETS.iterdir()} == files | BY_HAND | {SUMS}
    assert set(wanted_sums()) == {name for golden in all_of_it for name in golden.sums}


def _is_the_same(golden: Golden) -> None:
    wanted = wanted_sums()
    changes = []
    for name, text in golden.files.items():
        path = RULESETS / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        changes.append(diff(name, old, name, text))
    others = [name for name, digest in golden.sums.items() if wanted.get(name) != digest]
    if any(changes) or others:
        found = "".join(changes) + f"other than in SHA256SUMS: {', '.join(others) or 'none'}"
        pytest.fail(f"{found}\nrun `make golden`, read the diff", pytrace=False)
