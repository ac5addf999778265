"""Does the kernel still hold what was applied?

Rule 1: contents are compared, never existence: a missing rule, a changed seed, a foreign
        MAC and an address gone all show.
Rule 2: both sides of an nft comparison were listed by the same kernel and libnftables.
Rule 3: no kernel here; vipnft.host.facts collects what it holds.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vipnft.buckets.phases import Phase, State
from vipnft.buckets.ranges import ranges
from vipnft.host.settings import ipv6_switches, wanted_sysctls
from vipnft.model import Applied, Mode, Nic, Xdp, heard_as
from vipnft.ruleset import ndp, stage
from vipnft.ruleset.elements import CONTAINERS, GIVEN, Cell
from vipnft.ruleset.inet import REMEMBERED
from vipnft.ruleset.stage import StageFacts

_LINES = 6  # of one nft table's difference; enough to see what happened
_LONGEST_CHARS = 110
_NEAR_S = 2.0  # seconds before a timer's end in which its phase may be the one or the next
_CONTAINERS = frozenset((*(name for _, name in CONTAINERS), GIVEN, *REMEMBERED))
LEASE = frozenset({"armed0", "armed1", "granted0", "granted1"})
"""The sets of the lease, in both nft tables that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """An interface as it is now: `kind` as Link has it; `tagged`: VLANs stand on it; `filters` has
    the MACs in its filter besides its own, `groups` the multicast addresses by which it joined a
    group."""

    index: int
    mac: str
    usable: bool
    enslaved: bool
    kind: str = ""
    tagged: bool = False
    filters: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the kernel holds now.

    `links` has each interface that is there, by name; `carriers` the interfaces that carry each
    VIP; `tables` the text of each nft table that is there, by family; `stages` what is or should
    be in front of the rules, by interface.
    """

    links: Mapping[str, LinkFacts]
    carriers: Mapping[str, tuple[str, ...]]
    sysctls: Mapping[str, str | None]
    tables: Mapping[str, str]
    cells: Sequence[Cell] = ()
    stages: Mapping[str, StageFacts] = field(default_factory=dict)


def drift(
    applied: Applied, expected: Mapping[str, str], facts: Facts, phases: Sequence[Phase]
) -> tuple[str, ...]:
    """Return what differs from what was applied, a line each; nothing where all is well.

    `expected` is each nft table's text by family, as this kernel lists the ruleset; `phases`
    what the host is to do with each bucket by now.
    """
    tables = skeleton_drift(expected, facts.tables, leased=applied.leased)
    buckets = () if "netdev" not in facts.tables else bucket_drift(phases, facts.cells)
    return (*link_drift(applied, facts), *tables, *buckets, *stage_drift(applied, facts))


def link_drift(applied: Applied, facts: Facts) -> tuple[str, ...]:
    """Return what differs outside the nft tables."""
    return tuple(_links(applied, facts))


def skeleton_drift(
    expected: Mapping[str, str], found: Mapping[str, str], *, leased: bool = False
) -> tuple[str, ...]:
    """Return what differs in the nft tables but for buckets, and for the lease where an agent
    keeps it: `-` was applied, `+` stands there."""
    moving = _CONTAINERS | LEASE if leased else _CONTAINERS
    lines: list[str] = []
    for family, text in expected.items():
        if family not in found:
            lines.append(f"nft table {family} vipnft is gone")
        elif _skeleton(found[family], moving) != _skeleton(text, moving):
            lines.append(f"nft table {family} vipnft is not what was applied:")
            lines += _difference(_skeleton(text, moving), _skeleton(found[family], moving))
    return tuple(lines)


def bucket_drift(phases: Sequence[Phase], cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the buckets with which the kernel does something else than it should."""
    wrong: dict[tuple[str, str], list[int]] = {}
    for b, (want, cell) in enumerate(zip(phases, cells, strict=True)):
        have = cell.phase
        if have is None or not _alike(want, have):
            names = (have.state if have else "broken", want.state)
            wrong.setdefault(names, []).append(b)
    return tuple(
        f"{'buckets' if len(several) > 1 else 'bucket'} {ranges(several)}:"
        f" {have} in the kernel, not {want}"
        for (have, want), several in wrong.items()
    )


def stage_drift(applied: Applied, facts: Facts, *, again: bool = True) -> tuple[str, ...]:
    """Return what differs in the XDP stage. Another's program is none of ours; nor is it a
    difference that "auto" is off where the driver can't, or, if not `again`, where it said so."""
    return tuple(
        line
        for nic in applied.nics
        if nic.interface in facts.stages and nic.interface in facts.links
        for line in _stage(applied, nic, facts, again=again)
    )


def _stage(applied: Applied, nic: Nic, facts: Facts, *, again: bool) -> Iterator[str]:
    interface, wanted, found = nic.interface, applied.cluster.xdp, facts.stages[nic.interface]
    if found.where and not found.ours:
        return
    what = f"the XDP stage on {interface}"
    if wanted is Xdp.OFF or stage.unfit(applied.cluster, tagged=facts.links[interface].tagged):
        if found.where:
            yield f"{what} is to be off"
        return
    if not found.where:
        if not found.refused or (again and wanted is not Xdp.AUTO):
            yield f"{what} is not there{f': {found.refused}' if found.refused else ''}"
        return
    if (found.where == Xdp.GENERIC) != (wanted is Xdp.GENERIC):
        yield f"{what} is {found.where}"
    if found.old:
        yield f"{what} is another version's"
    if found.told is None or found.words is None:
        return
    if found.told != stage.told(applied.cluster, nic):
        yield f"{what} was told other VIPs, or another deal"
        return
    drops = {b for b in range(applied.cluster.buckets) if found.words[b // 64] >> b % 64 & 1}
    due = stage.foreign(applied.owners, applied.drains, applied.host)
    for buckets, verb in ((drops - due, "drops"), (due - drops, "lets through")):
        if buckets:
            yield f"{what} {verb} {ranges(sorted(buckets))}"


def _alike(want: Phase, have: Phase) -> bool:
    """Tell whether two phases are the same, or differ by a timer that is about to end."""
    ends = {frozenset((State.DRAINING, State.FOREIGN)), frozenset((State.JOINING, State.OWNED))}
    near = max(want.left, have.left) <= _NEAR_S
    return want.state is have.state or (near and frozenset((want.state, have.state)) in ends)


def _skeleton(listing: str, moving: Collection[str]) -> str:
    """Return an nft table's text without the elements of the sets and maps in `moving`."""
    kept, inside, skipping = [], False, False
    for line in listing.splitlines():
        words = line.split()
        if words[:1] in (["map"], ["set"], ["chain"]):
            inside = words[1] in moving
        if inside and words[:1] == ["elements"]:
            skipping = True
        if not skipping:
            kept.append(line)
        elif line.rstrip().endswith("}"):
            skipping = False
    return "\n".join(kept)


def _links(applied: Applied, facts: Facts) -> Iterator[str]:
    for nic in applied.nics:
        link = facts.links.get(nic.interface)
        if link is None:
            yield f"interface {nic.interface} is gone"
        else:
            yield from _link(applied, nic, link)
    for vip, carriers in facts.carriers.items():
        if "lo" not in carriers:
            yield f"address {vip} is gone from lo"
        for other in sorted(set(carriers) - {"lo"}):
            yield f"address {vip} is on {other}, where the stack itself may answer for it"
    for key, name in ipv6_switches(applied.nics).items():
        if facts.sysctls.get(key) == "1":
            yield f"IPv6 is off on {name} (sysctl {key})"
    interfaces = [nic.interface for nic in applied.nics if nic.interface in facts.links]
    for key, values in wanted_sysctls(interfaces, applied.mode).items():
        value = facts.sysctls.get(key)
        if value is not None and value not in values:
            yield f"sysctl {key} is {value}, not {values[0]}"


def _link(applied: Applied, nic: Nic, link: LinkFacts) -> Iterator[str]:
    interface, listen = nic.interface, nic.listen_mac(applied.mode)
    worn = applied.worn.get(interface)
    if worn is None or link.index != worn.index:
        yield f"interface {interface} was made anew since"
    if not link.usable:
        yield f"interface {interface} is down or has no carrier"
    if link.enslaved:
        yield f"interface {interface} is a port of a bridge or bond, or in a VRF"
    for group in ndp.groups(nic, applied.mode):
        if group not in link.groups:
            yield f"{interface} has left the group {group}"
    match applied.mode:
        case Mode.HUB:
            if link.mac != listen:
                yield f"{interface}'s MAC is {link.mac}, not the listen MAC {listen}"
        case Mode.SWITCH | Mode.MULTICAST:
            if link.mac == listen:
                yield f"{interface} itself has the listen MAC {listen}: the switch may learn it"
            heard = heard_as(link.kind, listen, applied.mode)
            if heard not in link.filters and heard != listen:
                yield f"{interface}, a bridge, is not promiscuous: it hears no listen MAC"
            elif heard not in link.filters:
                kind = "unicast" if applied.mode is Mode.SWITCH else "multicast"
                yield f"{interface}'s {kind} filter does not have the listen MAC {listen}"


def _difference(expected: str, found: str) -> list[str]:
    changed = [
        f"  {line[0]} {line[1:_LONGEST_CHARS]}"
        for line in difflib.unified_diff(_placed(expected), _placed(found), lineterm="", n=0)
        if line[0] in "+-" and line[:3] not in {"---", "+++"}
    ]
    more = len(changed) - _LINES
    return changed[:_LINES] + ([f"  ... and {more} lines more"] if more > 0 else [])


def _placed(listing: str) -> list[str]:
    """Return the lines of an nft table's text, each behind the set, map or chain it is in."""
    lines, place = [], ""
    for line in (line.strip() for line in listing.splitlines()):
        if line.endswith("{") and line.split()[0] in {"set", "map", "chain"}:
            place = line.removesuffix(" {")
        elif line not in {"", "}"}:
            lines.append(f"{place}: {line}")
    return lines
