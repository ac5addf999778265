"""Who does not answer is told before he is needed."""

from vipnft.agent.earshot import Earshot
from vipnft.agreement.records import Member


def looks(earshot: Earshot, *several: str, dead: str = "", start: int = 0) -> list[str]:
    """Look every five seconds, at so many beats more; return what is said."""
    said = []
    for n, unheard in enumerate(several, start):
        known = {h: Member("a1", 7 if h in dead else 25 * n, 1.0, 1) for h in "bcd"}
        said.append(earshot.look(known, unheard, 5.0 * n))
    return [line for line in said if line]


def test_it_is_said_when_it_begins_and_when_it_ends() -> None:
    earshot = Earshot(5520)
    assert looks(earshot, "", *["c"] * 30) == [
        "WARNING: c does not answer at UDP port 5520: if the store were away, this host would be"
        " silent; let that port pass, both ways"
    ]
    assert [line.split(" does")[0] for line in looks(earshot, *["cd"] * 30, start=31)] == [
        "WARNING: c, d"
    ]
    assert looks(earshot, *["c"] * 30, start=61) == [
        "the others answer at UDP port 5520 again, all but c"
    ]
    assert looks(earshot, "", start=91) == ["the others answer at UDP port 5520 again"]


def test_what_comes_and_goes_is_a_line_a_minute() -> None:
    assert len(looks(Earshot(5520), *["", "c"] * 60)) == 10


def test_the_dead_need_not_answer() -> None:
    assert looks(Earshot(5520), "", *["c"] * 30, dead="c") == []
