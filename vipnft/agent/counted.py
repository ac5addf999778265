"""A store whose answers are counted and timed."""

import time
from collections.abc import Mapping

from vipnft.observe.figures import Figures
from vipnft.store.contract import Answer, Store


class Counted:
    """Does as `store` does, and notes in `figures` how each request ended."""

    def __init__(self, store: Store, figures: Figures) -> None:
        self._store, self._figures = store, figures

    def transact(
        self,
        versions: Mapping[str, int],
        puts: Mapping[str, bytes | None],
        *,
        timeout: float,
        brief: bool = False,
    ) -> Answer:
        """See Store.transact; "refused" is one whose conditions did not hold."""
        began = time.monotonic()
        result = "failed"
        try:
            answer = self._store.transact(versions, puts, timeout=timeout, brief=brief)
            result = "done" if answer.done else "refused"
        finally:
            self._figures.requests[result] += 1
            self._figures.request.note(time.monotonic() - began)
        return answer

    def watch(self, key: str) -> int | None:
        """See Store.watch."""
        return self._store.watch(key)

    def close(self) -> None:
        """See Store.close."""
        self._store.close()
