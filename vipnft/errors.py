"""The error tree: each says what, where and the fix; `cli` alone prints them and exits.

VipnftError                 exit code 1
├── UsageError              2   command line or machine unfit; nothing was touched
│   ├── ConfigError         2   the cluster file: every fault at once
│   └── UnreadyError        2   not yet: an interface is absent, down or without carrier
├── DriftError              3   it is not as was applied, or another machine has a VIP
├── KernelError             1   nftables, a link or a sysctl refused
├── StoreError              1   in `store.contract`: unreachable, unknown, refused, corrupt
└── AgreementError          1   in `agreement.records`: a key in the store that can't be used
"""

from collections.abc import Sequence
from dataclasses import dataclass


class VipnftError(Exception):
    """Anything that ends a command; `fix` is what the reader should do, in one line."""

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


class UsageError(VipnftError):
    """The command, the configuration or the machine can't do this; nothing was touched."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a cluster file: the file, the key, what was found, the fix."""

    file: str
    key: str
    found: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.found}; {self.fix}"


class ConfigError(UsageError):
    """A cluster file with one or more faults, all of them listed, a line each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class UnreadyError(UsageError):
    """The machine can't do this yet: an interface is to come, as one does at a boot."""


class DriftError(VipnftError):
    """The kernel does not hold what was applied, or another machine has a VIP."""

    exit_code = 3


class KernelError(VipnftError):
    """The kernel or libnftables refused a change."""
