"""A scratch network namespace: the kernel checks a ruleset, and this machine is not touched.

Rule 1: all of it happens in a child process; its namespaces die with it.
Rule 2: the stand-in interface is the new namespace's own loopback under another name: a
        netdev chain needs a device, and no packet will ever pass it. Each more one is a veth.
"""

import json
import os
from collections.abc import Sequence

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
    try:
        reader, writer = os.pipe()
        child = os.fork()
    except OSError as error:
        raise KernelError(f"no scratch network namespace: {error.strerror}") from error
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as answers:
                json.dump(_in_child(commands, tables, interfaces), answers)
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
    found: dict[str, str] = answer["listing"]
    return found


def _in_child(
    commands: Commands, tables: tuple[NftTable, ...], interfaces: Sequence[str]
) -> dict[str, object]:
    try:
        _enter()
        nft.renew()
        first, *more = interfaces
        libc.rename("lo", first)
        for interface in more:
            stand_in(interface)
        nft.apply(commands)
        return {"listing": nft.listing(tables)}
    except VipnftError as error:
        kind = "usage" if isinstance(error, UsageError) else "kernel"
        return {"refused": str(error), "fix": error.fix, "kind": kind}
    except OSError as error:
        names = ", ".join(interfaces)
        what = f"no stand-in for {names} in a scratch network namespace: {error.strerror}"
        return {"refused": what, "fix": "", "kind": "kernel"}


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
