"""The XDP stage: it drops what the rules would drop, and nothing else."""

import ast

from tests.fuzz import stage as fuzz

FRAMES, SEED = 100_000, 18


def test_whatever_it_drops_its_twin_and_the_rules_drop() -> None:
    found = ast.literal_eval(fuzz.alone(FRAMES, SEED))
    assert found["dropped"] + found["passed"] == found["frames"] > FRAMES - 10
    assert min(found["dropped"], found["passed and taken"]) > FRAMES / 20
