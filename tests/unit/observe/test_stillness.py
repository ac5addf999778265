"""Whose key stands still, as one agent sees it."""

from vipnft.agreement.records import Member, key_of, patience
from vipnft.model import Entry
from vipnft.observe.stillness import Stillness


def keys(**versions: int) -> dict[str, Entry]:
    return {
        key_of(host): Entry(Member("a", version, 1.0, 1).dump(), version)
        for host, version in versions.items()
    }


def test_a_key_that_moves_is_heard() -> None:
    stillness, silent = Stillness(), patience(1.0)
    assert stillness.look(keys(web1=1, web2=1), 0.0) == set()
    assert stillness.look(keys(web1=2, web2=1), silent) == set()
    assert stillness.look(keys(web1=3, web2=1), silent + 0.1) == {"web2"}
    assert stillness.look(keys(web1=4, web2=2), silent + 0.2) == set()
    assert stillness.look(keys(web1=5), silent * 9) == set(), "who has no key is nobody"
