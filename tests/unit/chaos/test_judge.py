"""The judge of chaos: what explains a question that was not answered, and what doesn't."""

import pytest

from tests.chaos.judge import Done, Judge, Verdict
from tests.chaos.scene import Seen
from tests.chaos.traffic import Kind, Ledger, Question
from vipnft.lab.plan import host_mac
from vipnft.model import StoreLoss

HOSTS = ("web1", "web2", "web3", "web4")
KILLED = Done("agent killed", ("web2",), 10.0, 12.0)
AWAY = Done("etcd stopped", HOSTS, 10.0, 12.0, store=True)


def seen(tables: list[tuple[float, tuple[str, ...]]] | None = None) -> Seen:
    """Four hosts that beat five times a second, each with a bucket."""
    beats = {host: [n / 5 for n in range(500)] for host in HOSTS}
    return Seen(beats=beats, tables=tables or [(0.0, HOSTS)])


def judged(what: Seen, faults: list[Done], *asked: Question, loss: StoreLoss) -> Verdict:
    ledger = Ledger()
    for one in asked:
        ledger.judge(one)
    return Judge(what, faults, loss=loss, lease=1.0, began=0.0).verdict(ledger)


def unanswered(at: float, bucket: int) -> Question:
    return Question(Kind.PING, bucket, "10.64.0.1", at)


@pytest.mark.parametrize("loss", StoreLoss)
def test_a_fault_explains_its_hosts_clients_in_its_time(loss: StoreLoss) -> None:
    found = judged(
        seen(),
        [KILLED],
        unanswered(9.9, 1),
        unanswered(10.1, 1),
        unanswered(12.8, 1),
        unanswered(13.1, 1),
        unanswered(10.1, 2),
        loss=loss,
    )
    assert found.explained == {"agent killed": 2}
    assert found.unexplained == [
        "9.90 s: ping of bucket 1, of web2",
        "13.10 s: ping of bucket 1, of web2",
        "10.10 s: ping of bucket 2, of web3",
    ]
    assert found.around[:3] == [
        "3 until 13.10 s, of web2, web3:",
        "around 9.90 s:",
        "10.00 to 12.00 s: agent killed, web2",
    ]


def test_a_fault_lasts_until_its_host_beats_again() -> None:
    what = seen()
    what.beats["web2"] = [beat for beat in what.beats["web2"] if not 10.0 < beat < 17.0]
    found = judged(what, [KILLED], unanswered(17.3, 1), loss=StoreLoss.FENCE)
    assert found.explained == {"agent killed": 1}


def test_the_store_explains_all_under_fence_and_nothing_under_hold() -> None:
    questions = [unanswered(11.0, bucket) for bucket in range(4)]
    assert not judged(seen(), [AWAY], *questions, loss=StoreLoss.FENCE).unexplained
    assert len(judged(seen(), [AWAY], *questions, loss=StoreLoss.HOLD).unexplained) == 4


def test_who_was_giving_when_the_store_went_away_is_explained_alone() -> None:
    what = seen()
    what.notes.append((9.5, "web2", "giving 1 buckets to web3"))
    found = judged(what, [AWAY], unanswered(11.0, 1), unanswered(11.0, 3), loss=StoreLoss.HOLD)
    assert found.explained == {"a move cut short: etcd stopped": 1}
    assert found.unexplained == ["11.00 s: ping of bucket 3, of web4"]


def test_a_bucket_given_as_the_store_went_away_is_nobodys_until_it_is_back() -> None:
    """Its next owner, who goes on with the rest, has not heard of it."""
    what = seen([(0.0, HOSTS), (9.9, ("web3", *HOSTS[1:]))])
    what.beats["web3"] = [beat for beat in what.beats["web3"] if not 9.9 < beat < 12.0]
    asked = [unanswered(at, bucket) for at in (11.5, 13.0) for bucket in (0, 2)]
    found = judged(what, [AWAY], *asked, loss=StoreLoss.FAILSAFE)
    assert found.explained == {"a bucket given as the store went away": 1}
    assert len(found.unexplained) == 3


def test_a_move_explains_a_moment_of_its_own_bucket() -> None:
    after = ("web3", *HOSTS[1:])
    what = seen([(0.0, HOSTS), (30.0, after)])
    found = judged(
        what,
        [],
        unanswered(30.3, 0),
        unanswered(29.7, 0),
        unanswered(31.0, 0),
        unanswered(30.0, 1),
        loss=StoreLoss.FENCE,
    )
    assert found.moves == 1
    assert found.explained == {"a bucket that moved": 2}
    assert len(found.unexplained) == 2


def test_whose_a_bucket_was_the_one_who_answered_last_says_too() -> None:
    """The tables are those of the moment before; web2 has it already."""
    ledger = Ledger()
    ledger.judge(
        Question(Kind.PING, 0, "10.64.0.1", 9.0, answers=[(host_mac(2), 0)], answered=True)
    )
    ledger.judge(unanswered(10.5, 0))
    judge = Judge(seen(), [KILLED], loss=StoreLoss.FENCE, lease=1.0, began=0.0)
    assert judge.verdict(ledger).explained == {"agent killed": 1}


def test_buckets_are_given_to_the_dead() -> None:
    what = seen([(0.0, HOSTS), (30.0, ("web4", *HOSTS[1:]))])
    assert judged(what, [], loss=StoreLoss.FENCE).given == []
    what.beats["web4"] = [beat for beat in what.beats["web4"] if beat < 20.0]
    assert judged(what, [], loss=StoreLoss.FENCE).given == [
        "30.00 s: given to web4, silent for 10.2 s"
    ]
    # The store was away: what was written before may be done late.
    what.beats = {
        host: [beat for beat in beats if not 20.0 < beat < 29.0]
        for host, beats in what.beats.items()
    }
    assert judged(what, [], loss=StoreLoss.FENCE).given == []


def test_a_processor_that_was_not_there_explains_as_much() -> None:
    what = seen()
    what.starved += [("web2", 10.0, 11.0)]
    found = judged(what, [], unanswered(10.5, 1), unanswered(10.5, 2), loss=StoreLoss.HOLD)
    assert found.explained == {"no processor for a process": 1}
    assert len(found.unexplained) == 1


def test_a_connection_that_is_asked_for_again_may_begin_again_at_the_same_host() -> None:
    answers = [("a", 7), ("a", 8)]
    assert Question(Kind.SYN, 0, "10.64.0.1", 0.0, answers=answers).is_double
    assert not Question(Kind.SYN, 0, "10.64.0.1", 0.0, answers=answers, times=2).is_double
    answers[1] = ("b", 8)
    assert Question(Kind.SYN, 0, "10.64.0.1", 0.0, answers=answers, times=2).is_double


@pytest.mark.parametrize(
    ("kind", "answers", "double"),
    [
        (Kind.PING, [("a", 0)], False),
        (Kind.PING, [("a", 0), ("b", 0)], True),
        (Kind.PING, [("a", 0), ("a", 0)], True),
        (Kind.WHO_HAS, [("a", 0), ("b", 0)], True),
        (Kind.SYN, [("a", 7), ("a", 7)], False),  # it says its SYN|ACK again
        (Kind.SYN, [("a", 7), ("a", 8)], True),
        (Kind.SYN, [("a", 7), ("b", 7)], True),
    ],
)
def test_two_answers_are_told_from_one_that_is_said_again(
    kind: Kind, answers: list[tuple[str, int]], double: bool
) -> None:
    question = Question(kind, 0, "10.64.0.1", 0.0, answers=answers, answered=True)
    ledger = Ledger()
    ledger.judge(question)
    assert (ledger.double == [question]) is double
