"""What an agent says of another machine that has a VIP, and how often."""

from vipnft.agent.duplicates import Told
from vipnft.host.duplicate import REMEDY, Claim

ONE = Claim("eth0", "192.0.2.100", "02:00:00:00:99:99")
TWO = Claim("eth0", "2001:db8::100", "02:00:00:00:99:99")
HAS = "another machine on eth0 has 192.0.2.100: 02:00:00:00:99:99"


def test_it_is_said_once_then_every_minute_and_when_it_ends() -> None:
    told, said = Told(), {}
    for now in range(0, 200, 5):
        found = frozenset([ONE] if 10 <= now < 150 else [])
        if lines := told.look(found, (), float(now)):
            said[now] = lines
    assert said == {
        10: [f"WARNING: {HAS}: {REMEDY}"],
        70: [f"WARNING: for 60 s now: {HAS}"],
        130: [f"WARNING: for 120 s now: {HAS}"],
        150: [f"no longer, after 140 s: {HAS}"],
    }


def test_each_claim_has_a_time_of_its_own() -> None:
    told = Told()
    told.look({ONE}, (), 0.0)
    assert [str(TWO) in line for line in told.look({ONE, TWO}, (), 30.0)] == [True]
    assert [str(ONE) in line for line in told.look({ONE, TWO}, (), 60.0)] == [True]
    (ended,) = told.look({TWO}, (), 61.0)
    assert ended == f"no longer, after 61 s: {ONE}"
    assert told.look({ONE, TWO}, (), 62.0) == [f"WARNING: {ONE}: {REMEDY}"], "it came back"


def test_what_could_not_be_asked_is_said_once() -> None:
    told = Told()
    assert told.look(frozenset(), ("why",), 0.0) == ["why"]
    assert told.look(frozenset(), ("why",), 100.0) == []
