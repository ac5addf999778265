"""Is there anything to look at closely? Taken beside the beats, and much cheaper than a comparison.

Rule 1: a glance differs where anything may: then contents are compared (vipnft.host.drift). One
        that does not differ from a glance at a sound host needs nothing more.
Rule 2: elements are held against what the phases say, not against an earlier glance: an agent
        moves them itself.
"""

import functools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from vipnft.buckets.phases import Phase
from vipnft.host import facts
from vipnft.host.drift import LEASE
from vipnft.host.settings import ipv6_switches, wanted_sysctls
from vipnft.kernel import link_glance, nft_glance, sysctl
from vipnft.model import Applied
from vipnft.ruleset import ndp
from vipnft.ruleset.elements import CONTAINERS, GIVEN, cell
from vipnft.ruleset.inet import REMEMBERED
from vipnft.ruleset.strays import STRAYS

_MOVING = frozenset(name for _, name in CONTAINERS)
_PASSING = frozenset((GIVEN, *REMEMBERED, *LEASE))
_LOAD = "load"
_MARK = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class RuleGlance:
    """The nft tables: what stays, in short; whether each bucket is in its phase; how many packets
    this host has taken since its rules were loaded; and strays, as facts.strays has them."""

    staying: bytes
    in_phase: bool
    taken: int
    strays: Mapping[str, tuple[int, str]]


LinkGlance = tuple[object, ...]
"""Interfaces and whose XDP program is on each, addresses and settings, to be compared with another
one."""


class Phased:
    """What each container holds of buckets in these phases, none of which a timer ends; worked
    out when it is first asked for."""

    def __init__(self, phases: Sequence[Phase] = ()) -> None:
        self.phases = phases

    @functools.cached_property
    def elements(self) -> dict[str, nft_glance.Elements]:
        """Return it, by container."""
        return _elements(self.phases)


def rules(applied: Applied, phased: Phased) -> RuleGlance:
    """Return what the nft tables hold; `phased` is what an agent has put there."""
    found = nft_glance.rules(_MOVING, _PASSING)
    strayed = {_MARK.unpack(key)[0]: n for key, n in found.packets.get(STRAYS, {}).items()}
    return RuleGlance(
        found.staying,
        found.moving == phased.elements or _alike(found.moving, phased.elements),
        sum(found.packets.get(_LOAD, {}).values()),
        facts.strays(applied, strayed),
    )


def staying() -> bytes:
    """Return what a glance has of the rules."""
    return nft_glance.rules((), _MOVING | _PASSING).staying


def at_rest(applied: Applied) -> tuple[object, ...]:
    """Return what there is of a host without an agent, to be compared with another one: of buckets
    on the move without the time that is left. KernelError if the kernel does not tell."""
    found = nft_glance.rules(_MOVING, _PASSING)
    moving = {
        name: {key: word if word[:1] != "?" else "?" for key, word in several.items()}
        for name, several in found.moving.items()
    }
    return found.staying, moving, links(applied)


def links(applied: Applied) -> LinkGlance:
    """Return what stands beside the nft tables."""
    groups = {group for nic in applied.nics for group in ndp.groups(nic, applied.mode)}
    wanted = link_glance.Wanted(
        {nic.interface: ndp.mac(nic.listen_mac(applied.mode)) for nic in applied.nics},
        {*(vip.packed for vip in applied.cluster.vips), *(ip_address(g).packed for g in groups)},
    )
    keys = (
        *wanted_sysctls((nic.interface for nic in applied.nics), applied.mode),
        *ipv6_switches(applied.nics),
    )
    return (*link_glance.links(wanted), [sysctl.read(key) for key in keys])


def _elements(phases: Sequence[Phase]) -> dict[str, nft_glance.Elements]:
    found: dict[str, nft_glance.Elements] = {name: {} for name in _MOVING}
    for bucket, phase in enumerate(phases):
        key, wanted = _MARK.pack(bucket), cell(phase)
        found["buckets"][key] = wanted.verdict or ""
        for name in ("leaving", "joined", "drains"):
            if getattr(wanted, name) is not None:
                found[name][key] = ""
        if wanted.mine:
            found["mine"][key] = ""
    return found


def _alike(
    found: Mapping[str, nft_glance.Elements], wanted: Mapping[str, nft_glance.Elements]
) -> bool:
    """Tell whether both mean the same: a verdict of a move without its timer means that the move
    is over (vipnft.ruleset.elements, rule 3)."""
    if found.keys() != wanted.keys():
        return False
    over = {"leave": ("drop", found["leaving"]), "come": ("take", found["joined"])}
    settled = {
        key: over[word][0] if word in over and key not in over[word][1] else word
        for key, word in found["buckets"].items()
    }
    return {**found, "buckets": settled} == wanted
