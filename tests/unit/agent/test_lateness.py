"""Beats that are late, and by what."""

from vipnft.agent.lateness import Lateness


def renewed(late: Lateness, now: float, waited: float = 0.0, **spent: float) -> str:
    late.waited(waited)
    for what, seconds in spent.items():
        late.spent(what, seconds / 2)
        late.spent(what, seconds / 2)
    return late.renewed(now)


def test_a_late_beat_is_told_with_its_cause() -> None:
    late = Lateness(0.2, 1.0)
    assert renewed(late, 10.0, 5.0, store=1.0) == ""
    assert renewed(late, 10.25, 0.2, store=0.05) == "", "less than a tenth of the lease"
    assert renewed(late, 11.15, 0.2, store=0.01, look=0.65) == (
        "a beat was 0.70 s late (look, 0.65 s)"
    )


def test_what_nothing_explains_is_a_process_that_did_not_run() -> None:
    late = Lateness(0.2, 1.0)
    renewed(late, 10.0)
    said = renewed(late, 18.2, 0.2, store=0.1)
    assert said == "a beat was 8.00 s late (this process did not run, 7.90 s)"


def test_late_beats_are_a_line_a_minute_of_the_worst() -> None:
    late = Lateness(0.2, 1.0)
    said = []
    for n in range(140):
        extra = 0.25 if n == 40 else 0.0
        said.append(renewed(late, n + extra, 0.2, store=0.8 + extra))
    lines = [(n, line) for n, line in enumerate(said) if line]
    assert [n for n, _ in lines] == [1, 61, 121]
    assert lines[1][1] == "a beat was 1.05 s late 21 s ago (store, 1.05 s; the worst of 60)"


def test_to_wait_as_meant_or_for_a_store_that_failed_is_not_late() -> None:
    late = Lateness(0.2, 1.0)
    renewed(late, 10.0)
    assert renewed(late, 15.0, 4.95) == ""
    late.forget()
    assert renewed(late, 45.0, 0.05, store=30.0) == ""
