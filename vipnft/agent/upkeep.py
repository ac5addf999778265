"""Keep the kernel as it was agreed, and know whether this host can serve at all.

Rule 1: where the kernel refuses, somebody changed it: it is mended, and the next beat tries again.
Rule 2: while it can't be mended, this host is cut off: it says so once, and holds nothing back.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vipnft.agent.dataplane import Dataplane
from vipnft.agent.duplicates import Duplicates
from vipnft.agent.exchange import Exchange
from vipnft.agent.hearing import Calls, Hearing
from vipnft.errors import KernelError, VipnftError
from vipnft.model import Owners

_CONTENT_S = 5.0  # seconds between two comparisons of the kernel's contents


class Upkeep:
    """The kernel's side of host `me`: `cut_off` says why it can't be reached, `taken` how many
    packets it took so far; `owners` is who is to own what."""

    def __init__(
        self,
        plane: Dataplane,
        calls: Calls,
        duplicates: Duplicates,
        me: str,
        exchange: Exchange,
        log: Callable[[str], None],
    ) -> None:
        self._plane, self._exchange, self._log = plane, exchange, log
        self._duplicates = duplicates
        self._hearing = Hearing(plane, calls, me)
        self._content_at = time.monotonic()
        self._mended = False
        self.cut_off = ""
        self.taken = 0
        self.owners: Owners = ()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Do something to the kernel under rule 1."""
        try:
            yield
        except KernelError as error:
            if not self._plane.is_up:
                raise
            if not self.cut_off:
                self._log(f"{error}")
            self.mend()
            if self.cut_off:
                self._plane.flush()  # it may hold what it is to give away

    def look_around(self) -> None:
        """Ask from now on who else has the VIPs."""
        self._duplicates.start()

    def due(self) -> bool:
        """Tell whether to compare though nothing was heard."""
        return time.monotonic() >= self._content_at

    def mend(self) -> None:
        """Compare, mend, and say what was found."""
        self._content_at = time.monotonic() + _CONTENT_S
        try:
            found = self._plane.mend()
        except VipnftError as error:
            if str(error) != self.cut_off:
                self._log(f"can't serve: {error}")
            self.cut_off = str(error)
            return
        if self.cut_off:
            self._log(f"no longer: {self.cut_off}")
            self.cut_off = ""
        self._listen()
        for line in self._duplicates.news():
            self._log(line)
        if found:
            self._log("found and mended: " + "; ".join(line.strip() for line in found))
            self._mended = True

    def mended(self) -> bool:
        """Tell whether anything was mended since the last call: rules come silent."""
        mended, self._mended = self._mended, False
        return mended

    def _listen(self) -> None:
        for one in self._hearing.look(self._exchange.members(), self.owners):
            self._log(one)
        self.taken = self._hearing.taken
