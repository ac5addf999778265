"""Keep the kernel as it was agreed, and know whether this host can serve at all.

Rule 1: where the kernel refuses, somebody changed it: it is mended, and the next beat tries again.
Rule 2: while it can't be mended, this host is cut off: it says so once, and holds nothing back.
Rule 3: no beat waits for a glance at the kernel; only where one differs is it compared closely.
"""

import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from vipnft.agent.aside import Aside
from vipnft.agent.dataplane import Dataplane
from vipnft.agent.duplicates import Duplicates
from vipnft.agent.exchange import Exchange
from vipnft.agent.hearing import Calls, Hearing
from vipnft.errors import KernelError, VipnftError
from vipnft.host.duplicate import Claim
from vipnft.host.glance import LinkGlance, RuleGlance
from vipnft.kernel.watch import News
from vipnft.model import Owners

_CONTENT_S = 5.0  # seconds between two glances at the kernel's contents, at least


class Upkeep:
    """The kernel's side of host `me`: `cut_off` says why it can't be reached; `owners` is who is to
    own what."""

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
        self._hearing = Hearing(calls, me)
        self._rules: Aside[tuple[RuleGlance | None, int]] = Aside("rules")
        self._links: Aside[LinkGlance | None] = Aside("links")
        self._look_at = time.monotonic()
        self._news = News()
        self._mended = False
        self.cut_off = ""
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

    @property
    def taken(self) -> int:
        """How many packets this host took so far."""
        return self._hearing.taken

    @property
    def claims(self) -> AbstractSet[Claim]:
        """Who else has the VIPs, as far as is known."""
        return self._duplicates.claims

    def look_around(self) -> None:
        """Ask from now on who else has the VIPs."""
        self._duplicates.start()

    def filenos(self) -> tuple[int, ...]:
        """Return what to poll for reading; when one is ready, `tend`."""
        return self._rules.fileno(), self._links.fileno()

    def tend(self, news: News) -> None:
        """Glance at what is said to be new, and now and then at everything; compare closely, and
        mend, where a glance differs from what was sound. Waits for nothing else."""
        now = time.monotonic()
        due = now >= self._look_at
        if due:
            self._look_at = now + _CONTENT_S
        self._news = News(
            self._news.rules or news.rules or due, self._news.links or news.links or due
        )
        self._heed_links()
        self._heed_rules()
        if self._news.links and self._links.begin(self._plane.at_links):
            self._news = self._news._replace(links=False)
        if self._news.rules and self._rules.begin(self._plane.at_rules):
            self._news = self._news._replace(rules=False)

    def _heed_links(self) -> None:
        if (found := self._links.outcome()) is None or not self._plane.is_up:
            return
        if found.value is None or not self._plane.is_same(found.value):
            self.mend(rules=False)
        if not self.cut_off:
            self._exchange.look(self._plane.addresses())

    def _heed_rules(self) -> None:
        if (found := self._rules.outcome()) is None or not self._plane.is_up:
            return
        seen, changes = found.value or (None, 0)
        sound = self._plane.is_sound(seen, changes) if seen else False
        if sound is None:
            self._news = self._news._replace(rules=True)  # overtaken: once more
        elif not sound:
            self.mend()
        if seen:
            self._listen(seen)

    def mend(self, *, rules: bool = True) -> None:
        """Compare, mend, and say what was found."""
        try:
            found = self._plane.mend(rules=rules)
        except VipnftError as error:
            if str(error) != self.cut_off:
                self._log(f"can't serve: {error}")
            self.cut_off = str(error)
            return
        if self.cut_off:
            self._log(f"no longer: {self.cut_off}")
            self.cut_off = ""
        if found:
            self._log("found and mended: " + "; ".join(line.strip() for line in found))
            self._mended = True

    def mended(self) -> bool:
        """Tell whether anything was mended since the last call: rules come silent."""
        mended, self._mended = self._mended, False
        return mended

    def _listen(self, seen: RuleGlance) -> None:
        known = self._exchange.members()
        for line in (
            *self._plane.news(),
            *self._duplicates.news(),
            *self._hearing.look(known, self.owners, seen.taken, seen.strays),
        ):
            self._log(line)
