# What was applied here, remembered where it lives as long as the kernel's state does.
# Rule 1: written before the kernel is touched, so that `down` can undo half a change too.
# Rule 2: one file a network namespace; /run forgets them when the machine restarts, as the
#         kernel does.
# Rule 3: the file holds the seed: only root reads it.
"""The record of what `apply` did to this host, and how the host was before."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vipnft.config import reader
from vipnft.config.writer import render
from vipnft.errors import ConfigError, KernelError, UsageError
from vipnft.kernel import libc
from vipnft.model import Applied, Mode, Worn

DIRECTORY = Path("/run/vipnft")
_VERSION = 5
_LIVES = 16  # of earlier agents that are remembered


@contextmanager
def locked() -> Iterator[None]:
    """Hold the one lock under which this network namespace is changed."""
    handle = _opened(".lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def living(incarnation: str) -> Iterator[frozenset[str]]:
    """Be the one agent of this network namespace; gives the lives before this one, which are over.

    UsageError if an agent lives here. What is written outlasts a kill, not a reboot.
    """
    handle = _claim()
    if handle is None:
        raise UsageError("an agent runs on this machine already", fix="systemctl status vipnft")
    with os.fdopen(handle, "r+", encoding="ascii") as file:
        lives = file.read().split()[-_LIVES:]
        file.seek(0)
        file.write("\n".join([*lives, incarnation]) + "\n")
        file.truncate()
        file.flush()
        yield frozenset(lives)


def tended() -> bool:
    """Tell whether an agent lives in this network namespace."""
    if not _path(".agent").exists():
        return False
    handle = _claim()
    if handle is not None:
        os.close(handle)
    return handle is None


def _claim() -> int | None:
    """Return the agents' lock, held; None if somebody else holds it."""
    handle = _opened(".agent")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _opened(suffix: str) -> int:
    try:
        DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        return os.open(_path(suffix), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{DIRECTORY} can't be written: {error.strerror}", fix="run it with sudo"
        ) from error


def load() -> Applied | None:
    """Return what was applied in this network namespace; None if nothing is."""
    path = _path(".json")
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", fix="run it as root") from error
    try:
        found = json.loads(text)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']}")
        return Applied(
            cluster=reader.parse(found["cluster"], str(path)),
            host=found["host"],
            mode=Mode(found["mode"]),
            owners=tuple(found["owners"]),
            worn={name: _worn(one) for name, one in found["worn"].items()},
            sysctls=found["sysctls"],
            addresses=tuple(found["addresses"]),
            drains={int(b): dict(hosts) for b, hosts in found["drains"].items()},
            leased=found["leased"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise KernelError(
            f"{path} is not what this version wrote ({error}), and nothing else knows how this"
            " host was before",
            fix="by hand: take the VIPs off lo (ip addr del), the listen MAC out of the filter"
            " (bridge fdb del ... self) or off the interface (ip link set ... address),"
            " `nft delete table` the tables named vipnft, then remove that file",
        ) from error


def save(record: Applied) -> None:
    """Write the record so that a crash leaves the old one or the new one."""
    path = _path(".json")
    fresh = path.with_suffix(".new")
    text = json.dumps(
        {
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
    )
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise KernelError(
            f"{path} can't be written: {error.strerror}", fix=f"make room in {DIRECTORY}"
        ) from error


def _worn(found: dict[str, Any]) -> Worn:
    return Worn(
        index=found["index"],
        mac=found["mac"],
        filters=tuple(found["filters"]),
        groups=tuple(found["groups"]),
    )


def forget() -> None:
    """Remove the record: the host is as it was."""
    _path(".json").unlink(missing_ok=True)


def _path(suffix: str) -> Path:
    return DIRECTORY / f"{libc.netns_cookie()}{suffix}"
