"""When a host doubts that it gets what the others get."""

from vipnft.agent.reception import Reception

OWNED = {"a": 64, "b": 64, "c": 128}


def looks(*taken: tuple[int, int, int]) -> list[str]:
    """Return what host a says at each look, given how many packets a, b and c took by then."""
    hearing = Reception("a")
    return [hearing.look(dict(zip("abc", one, strict=True)), OWNED)[:7] for one in taken]


def test_a_host_that_gets_its_share_says_nothing() -> None:
    assert looks((0, 0, 0), (90, 100, 200), (180, 200, 400)) == ["", "", ""]


def test_a_host_that_gets_nothing_says_so_once_and_when_it_is_over() -> None:
    quiet = [(7, 1000 * n, 2000 * n) for n in range(7)]
    again = [(8, 9000, 20000), (900, 10000, 22000)]
    said = ["", "", "", "WARNING", "", "", "", "packets", ""]
    assert looks(*quiet, *again) == said


def test_little_traffic_is_counted_until_it_is_enough() -> None:
    slow = [(7, 20 * n, 40 * n) for n in range(20)]
    assert [n for n, said in enumerate(looks(*slow)) if said] == [15], "3 times 100 packets each"


def test_a_share_by_weight_is_expected() -> None:
    hearing = Reception("a")
    owned = {"a": 1, "b": 255}
    for n in range(30):
        assert hearing.look({"a": 0, "b": 5000 * n}, owned) == "", "of 5,000, 19 are to be expected"
        if n == 14:
            break


def test_counters_that_begin_anew_and_hosts_that_come_and_go() -> None:
    hearing = Reception("a")
    assert hearing.look({"a": 5, "b": 9000}, OWNED) == ""
    assert hearing.look({"a": 5, "b": 3}, OWNED) == "", "b was reloaded"
    assert hearing.look({"a": 5}, OWNED) == ""
    assert hearing.look({"a": 5, "c": 10**6}, OWNED) == "", "c has only come"
    assert hearing.look({"b": 10**6}, OWNED) == ""
    assert hearing.look({"a": 0, "b": 10**7}, {"b": 256}) == "", "nothing is mine"
