"""What an agent made of a look that is old by the time at which it can write."""

import math

from tests.unit.agreement.stage import Stage
from vipnft.agreement.effects import Transact
from vipnft.agreement.records import TABLE, Table


def test_nothing_is_given_to_whom_nobody_saw_for_long() -> None:
    """a is stopped when it is about to give, who is to have it dies meanwhile, and the others don't
    reach the store: the table is as a knows it when it goes on, and nothing of it goes there."""
    stage = Stage()
    stage.begin("a", "b", "c", "d")
    stage.run(8)
    a = stage.hosts["a"]
    a.weight = 0
    while not (isinstance(a.effect, Transact) and TABLE in a.effect.puts):
        stage.run(0.0002)
    given = Table.load(a.effect.puts[TABLE] or b"").owners
    (to,) = {new for new, old in zip(given, _owners(stage), strict=True) if new != old}
    before = _owners(stage).count(to)
    stage.hosts[to].end()
    stage.away |= dict.fromkeys(stage.hosts.keys() - {"a", to}, math.inf)
    stage.stopped["a"] = stage.now + 5
    stage.run(8)
    assert _owners(stage).count(to) <= before
    stage.heal()
    stage.run(8)
    assert len(stage.serving()) == len(given)


def _owners(stage: Stage) -> tuple[str, ...]:
    return Table.load(stage.store[TABLE].value).owners
