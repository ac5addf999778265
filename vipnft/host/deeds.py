"""What a command did to this host, told as an agent tells of itself: to the journal, in the file of
events, and to hooks.

Rule 1: an event a command that changed something, said while it holds the lock of changes: an agent
        reads how far the numbers are under the same lock, and no command changes anything where one
        lives. So events have their order, and one writer at a time.
Rule 2: no command fails for this, or waits for a journal that takes nothing.
Rule 3: hooks are called when all is done, without the lock, for 20 s at most: what is left then
        waits for the next command, or the next agent.
"""

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from vipnft.buckets.ranges import ranges
from vipnft.errors import VipnftError
from vipnft.host import hooks, locks
from vipnft.host.change import Outcome
from vipnft.host.commands import Stop
from vipnft.host.event_file import EventFile
from vipnft.host.hooks import SECONDS, Backlog, Programs
from vipnft.host.journald import Journald
from vipnft.kernel import clock
from vipnft.model import Applied
from vipnft.observe.events import Event, Place, document, journal_fields, kind_of, public

_JOURNAL_S = 0.005
_HOOKS_S = 20.0


def tell(place: Place, line: str) -> None:
    """Say what was done, by whoever holds the lock of changes."""
    events, after = EventFile(), 0
    with suppress(OSError):
        after = events.last()
    event = Event(after + 1, round(time.time(), 3), kind_of(line), public(line))
    with suppress(OSError):
        Journald(wait=_JOURNAL_S).send(journal_fields(event, place, line))
    with suppress(OSError):
        events.append(json.dumps(document(event, place)))
        if events.hooked() is None and hooks.there():
            events.note_hooked(after)


def call_hooks(place: Place, say: Callable[[str], None]) -> None:
    """Call hooks for what waits for them; `say` is told what is wrong with them, and so are who
    look at events."""
    events, end, said = EventFile(), time.monotonic() + _HOOKS_S, list[str]()
    if (hooked := events.hooked()) is None:
        return
    backlog, programs = Backlog(events, hooked), Programs(Stop(), said.append)
    missed = 0
    with suppress(OSError):
        if missed := backlog.look():
            said.append(f"the hooks missed {missed} events: they take too long")
    while event := backlog.take():
        if not programs.call(events, {**event, "missed": missed}, SECONDS, end):
            break
        missed = 0
    for line in said:
        say(line)
    with suppress(VipnftError):
        if said:
            with locks.locked():
                for line in said if not locks.tended() else ():
                    tell(place, line)


def told(outcome: Outcome, now: Applied, line: str) -> Outcome:
    """Tell of what a command did to a host, if it did anything; what it only mended, as an agent
    does."""
    if not outcome.changed:
        return outcome
    place = Place(now.cluster.name, now.host)
    if outcome.mended:
        line = "found and mended: " + "; ".join(one.strip() for one in outcome.mended)
    tell(place, line)
    return replace(outcome, told=place)


def applied(before: Applied | None, now: Applied, dead: Collection[str]) -> str:
    """Return what `apply` did, where `dead` hosts were said to be so."""
    lost = ", ".join(host for host in dead if before and host in before.owners)
    without = f", without {', '.join(dead)}" if dead and not lost else ""
    on = ", ".join(nic.interface for nic in now.nics)
    more = f"{_change(before, now)}{without}, {now.mode} mode on {on}"
    owned, buckets = now.owners.count(now.host), len(now.owners)
    if lost:
        return f"took over from {lost}: {owned} of {buckets} buckets here{more}"
    return f"applied: {owned} of {buckets} buckets here{more}"


def released(before: Applied, now: Applied, buckets: Sequence[int], to: str) -> str:
    """Return what `release` did."""
    count, which = len(buckets), ranges(buckets)
    return f"giving {count} buckets to {to} ({which}): {_share(before, now)}"


def taken(before: Applied, now: Applied, buckets: Sequence[int], source: str | None) -> str:
    """Return what `take` did: from who drains them, or else from who had them."""
    count, which, share = len(buckets), ranges(buckets), _share(before, now)
    if source is not None:
        return f"took {count} buckets from {source} ({which}): {share}"
    if lost := ", ".join(sorted({before.owners[b] for b in buckets} - {""})):
        return f"took over from {lost}: {count} buckets ({which}), {share}"
    return f"took {count} buckets ({which}): {share}"


def _share(before: Applied, now: Applied) -> str:
    owned = now.owners.count(now.host)
    return f"{owned} of {len(now.owners)} buckets here{_change(before, now)}"


def _change(before: Applied | None, now: Applied) -> str:
    """Return what came and went, and what is drained here."""
    had, has = (
        {b for b, owner in enumerate(one.owners) if owner == one.host} if one else set[int]()
        for one in (before, now)
    )
    moment = clock.boottime()
    drains = [b for b, hosts in now.drains.items() if hosts.get(now.host, 0) > moment]
    draining = f", draining {ranges(drains)}" if drains else ""
    anew = (before.cluster.seed, before.cluster.buckets) if before else None
    dealt = ", dealt anew" if anew not in {None, (now.cluster.seed, now.cluster.buckets)} else ""
    return f" ({len(has - had)} came, {len(had - has)} went){draining}{dealt}"
