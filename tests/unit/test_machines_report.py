"""docs/machines.md, from what the machines showed."""

from tests.machines.report import Outcome, merged, page

NAMES = {"6.1": "Debian 12", "6.12": "Debian 13"}


def outcome(kernel: str, test: str, result: str = "passed", seen: str = "") -> Outcome:
    return Outcome(kernel=kernel, scenario="A power cut", test=test, result=result, seen=seen)


def test_a_row_has_a_cell_for_each_kernel() -> None:
    results = merged({}, outcome("6.1", "test_it_is_taken_over", seen="5.4 s"))
    results = merged(results, outcome("6.12", "test_it_is_taken_over", "failed"))
    assert "| it is taken over | ✓ 5.4 s | ✗ |" in page(results, NAMES, 5.0)


def test_a_later_run_of_one_kernel_leaves_the_other_as_it_was() -> None:
    results = merged({}, outcome("6.1", "test_a"))
    results = merged(results, outcome("6.12", "test_a"))
    results = merged(results, outcome("6.12", "test_b[VLAN-hub]"))
    results = merged(results, outcome("6.12", "test_a", "failed"))
    text = page(results, NAMES, 5.0)
    assert "| a | ✓ | ✗ |" in text
    assert "| b: VLAN-hub |  | ✓ |" in text
