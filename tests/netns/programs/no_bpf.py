"""Run the command as on a kernel without bpf(2): python no_bpf.py WORD..."""

import ctypes
import errno
import os
import struct
import sys

from vipnft.cli import main

_CALLS = {"x86_64": 321, "aarch64": 280}  # of bpf()
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h, as BPF_..|BPF_..
_ERRNO, _ALLOW = 0x50000, 0x7FFF0000

if __name__ == "__main__":
    number = _CALLS[os.uname().machine]
    rules = [(_LOAD, 0, 0, 0), (_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code = b"".join(struct.pack("=HBBI", *one) for one in [*rules, (_RETURN, 0, 0, _ALLOW)])
    held = ctypes.create_string_buffer(code)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
    assert libc.prctl(_SECCOMP, _FILTER, program, 0, 0) == 0, ctypes.get_errno()
    sys.argv[0] = "vipnft"
    main.main()
