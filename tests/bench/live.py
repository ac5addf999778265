"""Frames as a NIC's driver delivers them: run inside the segment, on one CPU.

    python live.py ROUNDS INTERFACE FILE [INTERFACE FILE ...]

BPF_PROG_TEST_RUN with live frames takes each from a page pool, and a program redirects it into the
interface, whose other end receives it within the call: in NAPI, as a driver does, before there is
an skb. FILE has frames in hexadecimal, a line each. The kernel takes the time, without what it
takes to set such a run up, and without what else ran where it let others run. Prints one line of
JSON: of each round the nanoseconds a frame of each interface, as the median over its frames.
"""

import ctypes
import json
import os
import socket
import statistics
import struct
import sys
from pathlib import Path

from vipnft.kernel.xdp import RunOpts

REPEAT, BATCH = 4096, 64  # frames a call, and at a time
_LIVE = 2  # linux/bpf.h: BPF_F_TEST_XDP_LIVE_FRAMES
_XDP, _REDIRECT = 6, 23  # BPF_PROG_TYPE_XDP, bpf_redirect

bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def redirecting(interface: str) -> int:
    """Return a program that redirects into an interface: return bpf_redirect(index, 0)."""
    index = socket.if_nametoindex(interface)
    steps = [(0xB7, 1, index), (0xB7, 2, 0), (0x85, 0, _REDIRECT), (0x95, 0, 0)]
    code = b"".join(struct.pack("=BBhi", code, to, 0, value) for code, to, value in steps)
    fd: int = bpf.bpf_prog_load(_XDP, b"redirects", b"GPL", code, len(steps), None)
    assert fd >= 0, os.strerror(-fd)
    return fd


def took(program: int, frame: bytes) -> float:
    """Send a frame REPEAT times; return the nanoseconds of each."""
    one = RunOpts(
        ctypes.sizeof(RunOpts),
        frame,
        data_size_in=len(frame),
        repeat=REPEAT,
        flags=_LIVE,
        batch_size=BATCH,
    )
    done = bpf.bpf_prog_test_run_opts(program, ctypes.byref(one))
    assert done == 0, os.strerror(-done)
    return float(one.duration)


def main(rounds: int, words: list[str]) -> list[list[float]]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ways = [
        (redirecting(interface), [bytes.fromhex(line) for line in Path(file).read_text().split()])
        for interface, file in zip(words[::2], words[1::2], strict=True)
    ]
    return [
        [statistics.median(took(program, frame) for frame in frames) for program, frames in ways]
        for _ in range(rounds)
    ]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2:])))
