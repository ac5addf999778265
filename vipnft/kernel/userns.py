"""What keeps ordinary users from making user namespaces, and so network namespaces."""

from pathlib import Path
from typing import NamedTuple


class Switch(NamedTuple):
    """A setting that forbids it: its name for sysctl(8), its value, and one that would do."""

    key: str
    bad: str
    good: str


_SWITCHES = (
    Switch("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    Switch("kernel.unprivileged_userns_clone", "0", "1"),
    Switch("user.max_user_namespaces", "0", "10000"),
)


def forbidding(proc: Path = Path("/proc/sys")) -> Switch | None:
    """Return the first setting here that forbids it; None if none is known to."""
    for switch in _SWITCHES:
        path = proc / switch.key.replace(".", "/")
        if path.exists() and path.read_text(encoding="ascii").strip() == switch.bad:
            return switch
    return None
