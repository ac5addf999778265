"""A scratch network namespace: the kernel checks a ruleset, and this machine is not touched.

Rule 1: all of it happens in a child process; its namespaces die with it.
Rule 2: the stand-in interface is the new namespace's own loopback under another name: a
        netdev chain needs a device, and no packet will ever pass it. Each more one is a veth.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from vipnft.errors import KernelError, UsageError, VipnftError
from vipnft.kernel import libc, nft, userns
from vipnft.kernel.links import stand_in
from vipnft.ruleset.nftjson import Commands
from vipnft.ruleset.tables import NftTable


def listing(
    commands: Commands, tables: tuple[NftTable, ...], interfaces: Sequence[str]
) -> dict[str, str]:
    """Return each table's text as the kernel lists it once `commands` are loaded.

    Needs root, or a kernel that lets anybody make a user namespace; UsageError otherwise,
    KernelError if the kernel or libnftables refuses the commands.
    """
    found: dict[str, str] = _answer(lambda: _listing(commands, tables, interfaces))
    return found


def price(commands: Commands, change: Callable[[], Commands], interfaces: Sequence[str]) -> float:
    """Return how many seconds of a processor it takes to make a change, and to apply it where
    `commands` are loaded; errors as of `listing`."""

    def spent() -> float:
        _loaded(commands, interfaces)
        before = time.process_time()
        nft.apply(change())
        return time.process_time() - before

    seconds: float = _answer(spent)
    return seconds


def _answer(ask: Callable[[], object]) -> Any:
    """Return what comes of it in a child process, alone in a scratch network namespace."""
    try:
        reader, writer = os.pipe()
        child = os.fork()
    except OSError as error:
        raise KernelError(f"no scratch network namespace: {error.strerror}") from error
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as answers:
                json.dump(_in_child(ask), answers)
        finally:  # whatever happened: never up the parent's stack
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    if not text:
        raise KernelError("the process in the scratch network namespace died")
    answer = json.loads(text)
    if "refused" in answer:
        kind = {"usage": UsageError, "kernel": KernelError}[answer["kind"]]
        raise kind(answer["refused"], fix=answer["fix"])
    return answer["found"]


def _in_child(ask: Callable[[], object]) -> dict[str, object]:
    try:
        _enter()
        nft.renew()
        return {"found": ask()}
    except VipnftError as error:
        kind = "usage" if isinstance(error, UsageError) else "kernel"
        return {"refused": str(error), "fix": error.fix, "kind": kind}


def _listing(
    commands: Commands, tables: tuple[NftTable, ...], interfaces: Sequence[str]
) -> dict[str, str]:
    _loaded(commands, interfaces)
    return nft.listing(tables)


def _loaded(commands: Commands, interfaces: Sequence[str]) -> None:
    """Load commands where there are stand-ins for the interfaces."""
    first, *more = interfaces
    try:
        libc.rename("lo", first)
    except OSError as error:
        names = ", ".join(interfaces)
        raise KernelError(
            f"no stand-in for {names} in a scratch network namespace: {error.strerror}"
        ) from error
    for interface in more:
        stand_in(interface)
    nft.apply(commands)


def _enter() -> None:
    alone = (
        libc.CLONE_NEWNET
        if libc.capable(libc.CAP_SYS_ADMIN)
        else libc.CLONE_NEWUSER | libc.CLONE_NEWNET
    )
    try:
        libc.unshare(alone)
    except OSError as error:
        switch = userns.forbidding()
        more = f", or sysctl {switch.key}={switch.good}" if switch else ""
        raise UsageError(
            f"this kernel gives no scratch network namespace ({error.strerror})",
            fix=f"run it as root{more}",
        ) from error
