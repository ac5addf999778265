"""Packet sockets where they may not be: the refusal is an error of ours."""

import subprocess
import sys

# What systemd does for a unit that restricts its address families (RestrictAddressFamilies=): a
# filter of system calls answers socket(AF_PACKET, ...) with EAFNOSUPPORT.
RESTRICTED = """
import ctypes, errno, os, socket, struct
from vipnft.errors import UsageError
from vipnft.kernel.packet_socket import Port

call = {"x86_64": 41, "aarch64": 198}[os.uname().machine]  # socket(2)
steps = [
    (0x20, 0, 0, 0), (0x15, 0, 3, call),  # of another system call: allow
    (0x20, 0, 0, 16), (0x15, 0, 1, socket.AF_PACKET),  # its first argument
    (0x06, 0, 0, 0x50000 | errno.EAFNOSUPPORT), (0x06, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = struct.pack("@HP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
try:
    Port("lo")
except UsageError as error:
    print(error)
"""


def test_a_refused_address_family_is_an_error_of_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESTRICTED], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("raw frames need root (CAP_NET_RAW)\n", "")
