"""Run a command as systemd does under RestrictAddressFamilies= and RestrictNamespaces=yes.

python restricted.py FAMILY,FAMILY... COMMAND...

A filter of system calls answers socket(2) of other families with EAFNOSUPPORT, unshare(2) and
setns(2) with EPERM.
"""

import ctypes
import errno
import os
import socket
import struct
import sys

SOCKET, UNSHARE, SETNS = {"x86_64": (41, 272, 308), "aarch64": (198, 97, 268)}[os.uname().machine]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x50000


def filtered(families: list[int]) -> list[tuple[int, int, int, int]]:
    """Return the filter's steps: (what, jump if true, jump if false, value)."""
    last = len(families) + 2  # steps from the first family's to "allow"
    return [
        (LOAD, 0, 0, 0),
        (EQUAL, len(families) + 5, 0, UNSHARE),
        (EQUAL, len(families) + 4, 0, SETNS),
        (EQUAL, 0, len(families) + 2, SOCKET),
        (LOAD, 0, 0, 16),
        *((EQUAL, last - n - 2, 0, family) for n, family in enumerate(families)),
        (RETURN, 0, 0, REFUSE | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
    ]


def main() -> None:
    families = [int(getattr(socket, word)) for word in sys.argv[1].split(",")]
    steps = filtered(families)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
