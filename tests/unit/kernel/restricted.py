"""Programs that may not open sockets of a family."""

import subprocess
import sys

# What systemd does for a unit that restricts its address families (RestrictAddressFamilies=): a
# filter of system calls answers socket(FAMILY, ...) with EAFNOSUPPORT.
_RESTRICT = """
import ctypes, errno, os, socket, struct

call = {"x86_64": 41, "aarch64": 198}[os.uname().machine]  # socket(2)
steps = [
    (0x20, 0, 0, 0), (0x15, 0, 3, call),  # of another system call: allow
    (0x20, 0, 0, 16), (0x15, 0, 1, socket.FAMILY),  # its first argument
    (0x06, 0, 0, 0x50000 | errno.EAFNOSUPPORT), (0x06, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = struct.pack("@HP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""


def run(family: str, before: str, program: str) -> str:
    """Return what a program says that runs without a family; `before` runs with it."""
    text = before + _RESTRICT.replace("FAMILY", family) + program
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout
