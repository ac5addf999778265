"""Why no lab can be brought up here, in words a person can act on.

Rule 1: the cause is read off this machine, not guessed at from the error's number alone.
Rule 2: what is not understood is shown whole, never hidden behind a friendly sentence.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vipnft.errors import KernelError, UsageError, VipnftError
from vipnft.kernel import userns


def explain(
    report: Mapping[str, Any], *, user: bool, proc: Path = Path("/proc/sys")
) -> VipnftError:
    """Turn the holder's report of failure into an error with its fix."""
    error, call, number = report["error"], report["call"], report["errno"]
    if number == errno.ENOSPC and str(call).startswith("unshare"):
        return UsageError(
            f"the kernel's limit of namespaces is reached ({error})",
            fix="take other labs down, or raise user.max_{net,mnt,uts,pid,user}_namespaces",
        )
    if number in {errno.EPERM, errno.EACCES}:
        return _forbidden(error, user, proc)
    if number == errno.EMFILE:
        return UsageError(
            f"too many hosts for this user's limit of open files ({error})",
            fix="three are needed per host: raise it with `ulimit -Hn`",
        )
    if number == errno.EOPNOTSUPP:
        return UsageError(
            f"this kernel lacks a kind of interface that a lab is made of ({error})",
            fix="as root: modprobe -a veth bridge",
        )
    return KernelError(
        f"the lab could not be built: {error}", fix=f"please report this:\n{report['trace']}"
    )


def _forbidden(error: str, user: bool, proc: Path) -> UsageError:
    """Name what forbids namespaces here, if it can be told."""
    if not user:
        return UsageError(
            f"this root may not make namespaces ({error}); it is confined, as in a container",
            fix="run it on the machine itself, or give the container CAP_SYS_ADMIN",
        )
    switch = userns.forbidding(proc)
    if switch is not None:
        return UsageError(
            f"ordinary users may not make namespaces here: {switch.key} is {switch.bad} ({error})",
            fix=f"sudo sysctl {switch.key}={switch.good}, or run it with sudo",
        )
    return UsageError(
        f"ordinary users may not make namespaces here ({error})", fix="run it with sudo"
    )
