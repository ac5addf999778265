"""What was applied here, remembered where it lives as long as the kernel's state does.

Rule 1: written before the kernel is touched, so that `down` can undo half a change too.
Rule 2: one file a network namespace; /run forgets them when the machine restarts, as the
        kernel does.
Rule 3: the file holds the seed: only root reads it.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from vipnft.config import reader
from vipnft.config.schema import checked_interface
from vipnft.config.writer import render
from vipnft.errors import ConfigError, KernelError, UsageError
from vipnft.host import kept
from vipnft.host.locks import DIRECTORY, path_of
from vipnft.host.settings import wanted_sysctls
from vipnft.kernel import sysctl
from vipnft.kernel.links import Link, Links
from vipnft.model import (
    EVERY_MAC,
    NAME,
    Address,
    Applied,
    Cluster,
    InterfaceRecord,
    Mode,
    Nic,
    heard_as,
)
from vipnft.ruleset import ndp

_VERSION = 6


def load() -> Applied | None:
    """Return what was applied in this network namespace; None if nothing is."""
    path = path_of(".json")
    try:
        text = kept.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", fix="run it as root") from error
    return parsed(text, path)


def parsed(text: bytes, path: Path) -> Applied:
    """Read what `save` wrote there; KernelError for anything else."""
    try:
        found = json.loads(text)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']}")
        return _plausible(
            Applied(
                cluster=reader.parse(found["cluster"], str(path)),
                host=found["host"],
                mode=Mode(found["mode"]),
                owners=tuple(found["owners"]),
                worn={name: _loaded(one) for name, one in found["worn"].items()},
                sysctls=found["sysctls"],
                addresses=tuple(found["addresses"]),
                drains={int(b): dict(hosts) for b, hosts in found["drains"].items()},
                leased=found["leased"],
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise KernelError(
            f"{path} is not what this version wrote ({error}), and nothing else knows how this"
            " host was before",
            fix="by hand: take the VIPs off lo (ip addr del), the listen MAC out of the filter"
            " (bridge fdb del ... self) or off the interface (ip link set ... address),"
            " `nft delete table` the tables named vipnft, then remove that file",
        ) from error


def _plausible(applied: Applied) -> Applied:
    """Return a record if `apply` or an agent could have made it; ValueError if not.

    An agent writes it from within its sandbox, and root's `down` acts on it.
    """
    keys = {key for mode in Mode for key in wanted_sysctls(applied.worn, mode)}
    for key, value in applied.sysctls.items():
        if key not in keys or not re.fullmatch(r"-?[0-9]{1,10}", value):
            raise ValueError(f"a setting that it has no business with: {key[:80]!r}")
    for name, one in applied.worn.items():
        index = one.index
        if name != checked_interface(name) or type(index) is not int or not 0 < index < 2**31:
            raise ValueError(f"no interface: {name[:80]!r}")
        for mac in (one.mac, *(f for f in one.filters if f != EVERY_MAC)):
            if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
                raise ValueError(f"no MAC: {mac[:80]!r}")
        if not all(_address(group).is_multicast for group in one.groups):
            raise ValueError("no multicast group")
    for address in applied.addresses:
        _address(address)
    _require_owners(applied)
    if applied.host not in applied.cluster.weights:
        raise ValueError("a host that is in no file")
    return applied


def _address(text: object) -> Address:
    """Return an address that is written as text; a number would be one, too."""
    if not isinstance(text, str):
        raise TypeError("no address")
    return ip_address(text)


def _require_owners(applied: Applied) -> None:
    """See that each bucket has an owner, and drains have names and times."""
    size = applied.cluster.buckets
    drains = [one for hosts in applied.drains.values() for one in hosts.items()]
    names = [*applied.owners, *(name for name, _ in drains)]
    if len(applied.owners) != size or not all(re.fullmatch(rf"(\??{NAME})?", n) for n in names):
        raise ValueError("no owner of each bucket")
    times = [until for _, until in drains]
    if not all(type(t) in {int, float} and (0 <= t < 2**53 or t == math.inf) for t in times):
        raise ValueError("a drain without an end")
    if not all(0 <= b < size for b in applied.drains) or type(applied.leased) is not bool:
        raise ValueError("a bucket that is not there")


def document(record: Applied) -> dict[str, Any]:
    """Return it as the file holds it."""
    return {
        "version": _VERSION,
        "cluster": render(record.cluster),
        "host": record.host,
        "mode": record.mode.value,
        "owners": record.owners,
        "worn": {name: asdict(one) for name, one in record.worn.items()},
        "sysctls": record.sysctls,
        "addresses": record.addresses,
        "drains": record.drains,
        "leased": record.leased,
    }


def save(record: Applied) -> None:
    """Write the record so that a crash leaves the old one or the new one."""
    path = path_of(".json")
    try:
        kept.replace(path, json.dumps(document(record)))
    except OSError as error:
        raise KernelError(
            f"{path} can't be written: {error.strerror}", fix=f"make room in {DIRECTORY}"
        ) from error


def _loaded(found: dict[str, Any]) -> InterfaceRecord:
    return InterfaceRecord(
        index=found["index"],
        mac=found["mac"],
        filters=tuple(found["filters"]),
        groups=tuple(found["groups"]),
    )


def forget() -> None:
    """Remove the record: the host is as it was."""
    path_of(".json").unlink(missing_ok=True)


def draft(
    links: Links,
    own_links: Mapping[str, Link],
    before: Applied | None,
    cluster: Cluster,
    *,
    name: str,
    mode: Mode,
) -> Applied:
    """Return the record of what is about to be applied; what was first there stays known."""
    carriers = links.carriers(*cluster.vips)
    added = before.addresses if before else ()
    old = before.worn if before else {}
    settings = before.sysctls if before else {}
    fresh = [i for i, link in own_links.items() if i not in old or old[i].index != link.index]
    values = {key: sysctl.read(key) for key in wanted_sysctls(fresh, mode)}
    return Applied(
        cluster=cluster,
        host=name,
        mode=mode,
        owners=(),
        worn={
            nic.interface: _fresh(
                links, own_links[nic.interface], nic, mode, old.get(nic.interface)
            )
            for nic in cluster.nics(name)
        },
        sysctls={**settings, **{key: value for key, value in values.items() if value is not None}},
        addresses=tuple(
            str(vip) for vip in cluster.vips if str(vip) in added or not carriers[str(vip)]
        ),
    )


def _fresh(
    links: Links, link: Link, nic: Nic, mode: Mode, before: InterfaceRecord | None
) -> InterfaceRecord:
    """Return an interface's record: what will be put on it is what is not there by itself."""
    old = (
        before
        if before and before.index == link.index
        else InterfaceRecord(index=link.index, mac=link.mac)
    )
    listen, joined = nic.listen_mac(mode), links.groups(link)
    filters: tuple[str, ...] = ()
    if mode in {Mode.SWITCH, Mode.MULTICAST}:
        heard = heard_as(link.kind, listen, mode)
        ours = heard in old.filters or heard not in links.filters(link)
        filters = (heard,) if ours else ()
    groups = tuple(g for g in ndp.groups(nic, mode) if g in old.groups or g not in joined)
    return replace(old, filters=filters, groups=groups)
