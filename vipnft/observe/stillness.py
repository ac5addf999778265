"""Whose key in the store stands still? Times are one monotonic clock's, in seconds."""

from vipnft.agreement.records import key_of, members, patience
from vipnft.model import Snapshot


class Stillness:
    """What was seen of the hosts' keys, and since when."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, snapshot: Snapshot, now: float) -> set[str]:
        """Return whose key has not moved for longer than its lease, while somebody looked."""
        known = members(snapshot)
        versions = {host: snapshot[key_of(host)].version for host in known}
        self._seen = {
            host: old if (old := self._seen.get(host)) and old[0] == version else (version, now)
            for host, version in versions.items()
        }
        return {
            host
            for host, (_, since) in self._seen.items()
            if now - since > patience(known[host].lease)
        }
