"""What a host promises to one that has lost the store: docs/design.md, "Failsafe".

Rule 1: a promise is about what the promiser itself will do: not take over from the asker, for the
        asker's lease and a tenth and 50 ms, counted from the promise.
Rule 2: no clock, socket or kernel here. Who asks was authenticated by its contact before; the
        answer is given by the ground that stands at that moment, whatever the agent is waiting for.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vipnft.agreement.records import Contact


def part(owned: Collection[int], draining: Collection[int]) -> str:
    """Return the digest of what a host's kernel holds, 32 letters: of both kinds of buckets."""
    whole = f"{sorted(owned)} {sorted(draining)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Ground:
    """By what a host promises: `version` is of the newest table that it has seen, `parts` what
    each host may hold by that one; `contacts` tell whom it knows, and the life that is to ask."""

    willing: bool = False
    refused: frozenset[str] = frozenset()
    version: int = 0
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    contacts: Mapping[str, Contact] = field(default_factory=dict)

    def promises(self, asker: str, version: int, part: str) -> bool:
        """Tell whether a promise is given to a host whose kernel holds `part`, by that `version`
        of the table."""
        return (
            self.willing
            and asker in self.contacts
            and self.spares(asker)
            and self.is_current(asker, version, part)
        )

    def spares(self, asker: str) -> bool:
        """Tell whether no takeover from the asker is under way, or of unknown outcome (F4)."""
        return asker not in self.refused

    def is_current(self, asker: str, version: int, part: str) -> bool:
        """Tell whether nothing can have been taken from the asker that its kernel holds (F5)."""
        return version >= self.version or part in self.parts.get(asker, frozenset())
