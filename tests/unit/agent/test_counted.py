"""A store whose answers are counted, however they end."""

import json
from collections.abc import Mapping

import pytest

from vipnft.agent.counted import Counted
from vipnft.observe.figures import Figures
from vipnft.store.contract import Answer, StoreUnknown


class Scripted:
    """Answers with what it was given, one after another."""

    def __init__(self, *answers: bool | None) -> None:
        self._answers = list(answers)

    def transact(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        *,
        timeout: float,
        brief: bool = False,
    ) -> Answer:
        assert (versions, puts, timeout, brief) == ({}, {}, 1, True)
        done = self._answers.pop(0)
        if done is None:
            raise StoreUnknown("no answer")
        return Answer(done, {})

    def watch(self, key: str) -> int | None:
        return len(key)

    def close(self) -> None:
        self._answers.clear()


def test_each_answer_is_counted_and_timed() -> None:
    figures = Figures()
    store = Counted(Scripted(True, False, None, True), figures)
    assert store.watch("four") == 4
    assert store.transact({}, {}, timeout=1, brief=True).done
    assert not store.transact({}, {}, timeout=1, brief=True).done
    with pytest.raises(StoreUnknown):
        store.transact({}, {}, timeout=1, brief=True)
    store.transact({}, {}, timeout=1, brief=True)
    assert figures.requests == {"done": 2, "refused": 1, "failed": 1}
    written = json.loads(json.dumps(figures.document({})))
    assert sum(written["store_request_seconds"]["counts"]) == 4
