"""The few calls that Python 3.11 has no name for."""

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv6Address

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_SIOCGIFHWADDR = 0x8927  # linux/sockios.h
_SIOCSIFNAME = 0x8923
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
_LINK_LOCAL = 0x20  # include/net/ipv6.h: IPV6_ADDR_LINKLOCAL
_IFA_F_UNSURE = 0x48  # linux/if_addr.h: IFA_F_TENTATIVE, IFA_F_DADFAILED
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 12, 21, 39  # linux/capability.h


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones; OSError as unshare(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def mac_of(interface: str) -> str | None:
    """Return an interface's own MAC; None where there is no such interface."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16s24x", interface.encode())
        try:
            reply = fcntl.ioctl(handle, _SIOCGIFHWADDR, request)
        except OSError:
            return None
    return reply[18:24].hex(":")


def index_of(interface: str) -> int | None:
    """Return an interface's index; None where there is no such interface."""
    with suppress(OSError):
        return socket.if_nametoindex(interface)
    return None


def ipv6_of(interface: str) -> IPv6Address | None:
    """Return an IPv6 address of an interface by which neighbours can be asked, link-local if it
    has one; None where there is none."""
    found: dict[bool, IPv6Address] = {}
    with suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as every:  # noqa: PTH123
        for line in every:
            address, _, _, scope, flags, name = line.split()
            if name == interface and not int(flags, 16) & _IFA_F_UNSURE:
                found.setdefault(int(scope, 16) == _LINK_LOCAL, IPv6Address(int(address, 16)))
    return found.get(True) or found.get(False)


def rename(interface: str, name: str) -> None:
    """Give an interface that is down another name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(
            handle, _SIOCSIFNAME, struct.pack("16s16s8x", interface.encode(), name.encode())
        )


def netns_cookie() -> int:
    """Return this network namespace's number, unique until the machine restarts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handle:
        return int.from_bytes(handle.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")


def capable(capability: int) -> bool:
    """Tell whether this process has a capability in effect."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        capable = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(capable.split()[1], 16) >> capability & 1)
