"""Would the others' promises reach this host, if it needed them? Pure: every time is one of this
host's monotonic clock, in seconds.

Rule 1: of the dead nothing is said here: who does not beat does not answer either.
Rule 2: what is found is a line when it begins and one when it ends, once a minute at most.
"""

from collections.abc import Collection, Mapping

from vipnft.agreement.records import Member

_AGAIN_S = 60.0


class Earshot:
    """What was said of who does not answer at UDP port `port`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._beats: dict[str, int] = {}
        self._said: frozenset[str] = frozenset()
        self._at = -_AGAIN_S

    def look(self, known: Mapping[str, Member], unheard: Collection[str], now: float) -> str:
        """Return what to say, now that these of the hosts did not answer; some beats after the
        last look."""
        before = self._beats
        self._beats = {host: member.beat for host, member in known.items()}
        moved = {host for host, beat in self._beats.items() if before.get(host, beat) != beat}
        deaf = frozenset(unheard) & (moved | self._said)
        if deaf == self._said or now - self._at < _AGAIN_S:
            return ""
        fresh, self._said, self._at = deaf - self._said, deaf, now
        if fresh:
            return (
                f"WARNING: {', '.join(sorted(deaf))} does not answer at UDP port {self._port}: if"
                " the store were away, this host would be silent; let that port pass, both ways"
            )
        left = f", all but {', '.join(sorted(deaf))}" if deaf else ""
        return f"the others answer at UDP port {self._port} again{left}"
