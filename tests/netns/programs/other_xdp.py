"""Put an XDP program of somebody else's on eth0, which says one thing to all: python other_xdp.py
[VERDICT], 2 (XDP_PASS) unless given."""

import ctypes
import socket
import struct
import sys

_VERDICT = int(sys.argv[1]) if len(sys.argv) > 1 else 2
_CODE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, _VERDICT, 0x95, 0, 0, 0)  # r0 = verdict; exit
_TYPE, _NATIVE = 6, 4  # BPF_PROG_TYPE_XDP, XDP_FLAGS_DRV_MODE

bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
program = bpf.bpf_prog_load(_TYPE, b"somebody", b"GPL", _CODE, len(_CODE) // 8, None)
assert program >= 0, program
done = bpf.bpf_xdp_attach(socket.if_nametoindex("eth0"), program, _NATIVE, None)
assert done == 0, done
