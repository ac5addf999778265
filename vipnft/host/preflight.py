"""What speaks against this machine as a host of a cluster: one list, for `check` and `apply`.

Rule 1: nothing is changed here; a refusal says what to do.
Rule 2: what is looked at is a value; what it means is a function of that, the same for both:
        `check` tells all of it, `apply` ends with the first FAIL.
Rule 3: without a mode, what every mode refuses is a FAIL; what only some do names them.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vipnft.errors import UnreadyError, UsageError
from vipnft.host.settings import ipv6_switches
from vipnft.kernel import libc, sysctl
from vipnft.kernel.links import ONE_MAC, Link, Links
from vipnft.model import Applied, Cluster, Mode, Nic


class Grade(enum.StrEnum):
    """How well a finding speaks of a machine; a FAIL is refused."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line, and, unless all is well, one fix. `passing`: it may end by itself, as an interface
    comes at a boot."""

    grade: Grade
    what: str
    fix: str = ""
    passing: bool = False


_Check = Callable[[Mode], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine's network: `links` by the names in the cluster file, without those not there;
    `carriers` and `conflicts` by VIP, as Links tells them;
    `without_ipv6` where it is turned off and needed."""

    links: Mapping[str, Link]
    every: Sequence[Link]
    carriers: Mapping[str, tuple[str, ...]]
    conflicts: Mapping[str, str]
    without_ipv6: tuple[str, ...] = ()


def require_privileged() -> None:
    """Refuse to go on without the right to change the network: UsageError."""
    if not libc.capable(libc.CAP_NET_ADMIN):
        raise UsageError("changing the network needs root (CAP_NET_ADMIN)", fix="run it with sudo")


def require_same_deal(old: Cluster, new: Cluster) -> None:
    """Refuse to deal clients anew: UsageError if the bucket of a client may not be what it was."""
    if (old.seed, old.buckets) != (new.seed, new.buckets):
        what = "seed" if old.seed != new.seed else "number of buckets"
        raise UsageError(
            f"the {what} is not the one that is applied: every client would be dealt anew,"
            " and most connections would break",
            fix="put it back, or say --reshuffle on every host at the same time",
        )


def look(links: Links, cluster: Cluster, name: str) -> Machine:
    """Return what `findings` is a function of."""
    found = {nic.interface: links.find(nic.interface) for nic in cluster.nics(name)}
    return Machine(
        links={interface: link for interface, link in found.items() if link is not None},
        every=links.every(),
        carriers=links.carriers(*cluster.vips),
        conflicts={str(vip): links.conflict(vip) for vip in cluster.vips},
        without_ipv6=tuple(
            interface
            for key, interface in ipv6_switches(cluster.nics(name)).items()
            if sysctl.read(key) in {"1", None}
        ),
    )


def fit(
    links: Links, cluster: Cluster, name: str, mode: Mode, before: Applied | None
) -> dict[str, Link]:
    """Return the host's interfaces by name; UsageError if this machine can't be that host,
    UnreadyError if it can't be yet."""
    machine = look(links, cluster, name)
    for finding in findings(machine, cluster, name, mode, before):
        if finding.grade is Grade.FAIL:
            kind = UnreadyError if finding.passing else UsageError
            raise kind(finding.what, fix=finding.fix)
    return dict(machine.links)


def findings(
    machine: Machine, cluster: Cluster, name: str, mode: Mode | None, before: Applied | None
) -> Iterator[Finding]:
    """Yield what speaks for and against a machine as host `name`, where `before` is applied."""
    nics = cluster.nics(name)
    yield from _merged(mode, partial(_standing, nics, before))
    for nic in nics:
        refused = list(_merged(mode, partial(_nic, machine, nic, before)))
        yield from refused
        if not any(finding.grade is Grade.FAIL for finding in refused):
            link = machine.links[nic.interface]
            yield Finding(Grade.OK, f"{link.name} is up, {link.mac}")
    for interface in machine.without_ipv6:
        yield _fail(
            f"IPv6 is off on {interface}, and an IPv6 address is to be served",
            f"sysctl net.ipv6.conf.{interface}.disable_ipv6=0, or leave it out of vips",
        )
    yield from _send_macs(machine, cluster, name)
    for vip in map(str, cluster.vips):
        yield from _address(machine, vip)


def _fail(what: str, fix: str, *, passing: bool = False) -> Finding:
    return Finding(Grade.FAIL, what, fix, passing)


def _merged(mode: Mode | None, check: _Check) -> Iterator[Finding]:
    """Yield what a check finds in a mode, or in all of them, each finding once."""
    modes = [mode] if mode else list(Mode)
    found: dict[Finding, list[Mode]] = {}
    for one in modes:
        for finding in check(one):
            found.setdefault(finding, []).append(one)
    for finding, those in found.items():
        if len(those) == len(modes):
            yield finding
        else:
            named = " or ".join(f"--{one}" for one in those)
            yield replace(finding, grade=Grade.WARN, what=f"not with {named}: {finding.what}")


def _standing(nics: Sequence[Nic], before: Applied | None, mode: Mode) -> Iterator[Finding]:
    """Yield what does not go with what is applied."""
    if before is None:
        return
    if before.mode is not mode:
        yield _fail(
            f"this host runs in {before.mode} mode, not in {mode} mode", "run `vipnft down` first"
        )
    named = {nic.interface for nic in nics}
    for gone in before.nics:
        if gone.interface not in named:
            yield _fail(
                f"this host runs on {gone.interface}, which the cluster file no longer names",
                "run `vipnft down` first",
            )


def _nic(machine: Machine, nic: Nic, before: Applied | None, mode: Mode) -> Iterator[Finding]:
    interface, link = nic.interface, machine.links.get(nic.interface)
    if link is None:
        names = ", ".join(one.name for one in machine.every)
        yield _fail(
            f"interface {interface} is not on this machine (it has {names})",
            "set interface in the cluster file's [[host]]",
            passing=True,
        )
        return
    if link.name != interface:
        yield _fail(
            f"{interface} is another name of {link.name}", f'write interface = "{link.name}"'
        )
    if not link.mac:
        yield _fail(
            f"{interface} has no Ethernet addresses, as tunnels haven't: no listen MAC is there",
            "name an Ethernet interface on the segment",
        )
        return
    master = next((one for one in machine.every if one.index == link.master), None)
    if master and master.kind == "vrf":
        yield _fail(
            f"{interface} is in the VRF {master.name}, and the VIPs stand on lo, which is in none",
            "name an interface that is in no VRF",
        )
    elif link.master:
        yield _fail(
            f"{interface} is a port of a bridge or bond, which takes its frames",
            "name the bridge or bond itself",
        )
    if link.loopback:
        yield _fail(f"{interface} is the loopback interface", "name the one on the segment")
    if not link.up:
        yield _fail(f"{interface} is down", f"ip link set {interface} up", passing=True)
    elif not link.carrier:
        yield _fail(f"{interface} has no carrier", "plug it in, or wait for its link", passing=True)
    yield from _macs(machine, link, nic, before, mode)


def _macs(
    machine: Machine, link: Link, nic: Nic, before: Applied | None, mode: Mode
) -> Iterator[Finding]:
    interface, listen = nic.interface, nic.listen_mac(mode)
    if mode is Mode.SWITCH and link.one_mac:
        yield _fail(f"{interface} is a {link.kind}, which listens for no second MAC", ONE_MAC)
    if mode is Mode.HUB and link.kind == "bridge":
        yield _fail(
            f"{interface} is a bridge: with the listen MAC as its own it would keep the frames that"
            " its guests send there from the other hosts",
            "use --switch, which works on hubs too",
        )
    if mode is Mode.SWITCH and link.mac == listen:
        yield _fail(
            f"{interface}'s own MAC is the listen MAC {link.mac}, which no switch may learn",
            "give the interface its own MAC back, or set another cluster.listen_mac",
        )
    if mode is Mode.HUB and link.mac == listen and not (before and interface in before.worn):
        yield _fail(
            f"{interface} has the listen MAC {link.mac} already, and nothing tells its own",
            f"give it its own back: ip link set {interface} address MAC",
        )
    for other in machine.every:
        if other.index != link.index and other.mac == listen:
            yield _fail(
                f"{other.name} has the listen MAC {other.mac}, which no switch may learn",
                f"give {other.name} another MAC, or set another cluster.listen_mac",
            )


def _send_macs(machine: Machine, cluster: Cluster, name: str) -> Iterator[Finding]:
    own = {link.mac: link.name for link in machine.links.values()}
    for host in cluster.hosts:
        for mac in host.send_macs.values():
            if host.name != name and mac in own:
                yield _fail(
                    f"{own[mac]}'s own MAC {mac} is the send_mac of {host.name}",
                    "give each host a send_mac that no interface has",
                )


def _address(machine: Machine, vip: str) -> Iterator[Finding]:
    what = machine.conflicts[vip]
    if what:
        yield _fail(f"{vip} is {what}", "take another address for the service")
    other = [carrier for carrier in machine.carriers[vip] if carrier != "lo"]
    if other:
        yield _fail(
            f"{vip} is an address of this host's {other[0]} already",
            "ip addr del it there, or take another VIP: `apply` itself puts the VIP on lo",
        )
