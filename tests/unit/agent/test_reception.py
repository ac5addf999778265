"""When a host doubts that it gets what the others get."""

from vipnft.agent.reception import Ebb, Reception, Silence, Strays

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


def ebbs(*taken: int) -> list[str]:
    ebb = Ebb()
    return [ebb.look({"a": one, "b": 2 * one})[:7] for one in taken]


def test_much_that_becomes_nothing_for_all_is_said_once_and_when_it_is_over() -> None:
    assert ebbs(0, 1000, 2000, 2001, 2001, 2001, 2001, 3000) == [
        *[""] * 5, "WARNING", "", "packets",
    ]  # fmt: skip


def test_much_may_end_in_the_midst_of_a_look() -> None:
    assert ebbs(0, 1000, 2000, 2010, 2010, 2010, 2010)[-1] == "WARNING"


def test_little_may_become_nothing_and_much_may_become_less() -> None:
    assert not any(ebbs(0, 20, 40, 40, 40, 40, 40, 40))
    assert not any(ebbs(0, 10_000, 20_000, 20_200, 20_300, 20_303, 20_304, 20_304, 20_304))


def test_hosts_that_come_and_go_are_no_ebb() -> None:
    ebb = Ebb()
    for n in range(3):
        assert ebb.look({"a": 1000 * n, "b": 1000 * n}) == ""
    for n in range(3, 9):
        assert ebb.look({"a": 1000 * n}) == ""


def test_frames_from_the_listen_mac_are_said_but_not_all_the_time() -> None:
    strays = Strays()
    assert strays.look({"eth0": (0, "")}) == ""
    said = strays.look({"eth0": (3, "vnet3")})
    assert "3 on eth0 (port vnet3)" in said
    assert [n for n in range(30) if strays.look({"eth0": (4 + n, "")})] == [11, 23]
    assert strays.look({"eth0": (0, "")}) == "", "rules were loaded anew"


def test_a_silence_of_all_others_is_said_once_and_when_it_is_over() -> None:
    silence = Silence()
    assert silence.look({"b"}, {"b", "c"}, 0.0) == ""
    assert silence.look(set(), {"b", "c"}, 99.0) == ""
    assert silence.look({"c"}, {"b", "c"}, 100.0) == "", "one is enough"
    assert silence.look(set(), {"b", "c"}, 199.0) == ""
    assert "WARNING" in silence.look(set(), {"b", "c"}, 201.0)
    assert silence.look(set(), {"b", "c"}, 301.0) == ""
    assert "again" in silence.look({"b"}, {"b", "c"}, 302.0)


def test_nobody_hears_the_dead_and_who_is_alone_hears_nobody() -> None:
    silence = Silence()
    assert silence.look({"b"}, {"b"}, 0.0) == ""
    assert silence.look(set(), set(), 200.0) == ""
    assert silence.look(set(), {"b"}, 300.0) == "", "it has just come back"
