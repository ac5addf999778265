"""Hears from etcd that a key changed, so that nobody need look all the time.

Rule 1: only a hint: whatever goes wrong here, the next look at the store finds it all.
Rule 2: connections of its own, in a thread of its own; nobody waits for either.
"""

import os
import threading
from contextlib import suppress
from itertools import cycle

from vipnft.store.etcd_member import Member

_CONNECT_S = 2.0
_IDLE_S = 60.0
"""Seconds without a change after which the connection is made anew: it may be dead."""
_PAUSE_S = 0.5


class Hints:
    """Watches a key (in base64) at one of the members, at the next one when that ends."""

    def __init__(self, members: list[Member], key: str) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._members, self._key = members, key
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="etcd watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; takes at most the time of a connection's start. Twice does no harm."""
        if self._over.is_set():
            return
        self._over.set()
        for member in self._members:
            with suppress(Exception):  # it may be about to end by itself
                member.close()
        self._thread.join(_CONNECT_S)
        if not self._thread.is_alive():
            os.close(self.fd)

    def _run(self) -> None:
        for member in cycle(self._members):
            with suppress(Exception):  # rule 1
                member.watch(self._key, self._heard, connect=_CONNECT_S, idle=_IDLE_S)
            if self._over.wait(_PAUSE_S):
                return

    def _heard(self) -> None:
        if not self._over.is_set():
            os.eventfd_write(self.fd, 1)
