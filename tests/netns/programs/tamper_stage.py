"""Run inside a host: have its XDP stage on eth0 drop all, whosever it is, as no agent would."""

import socket

from vipnft.kernel import xdp
from vipnft.kernel.xdp import Program

if __name__ == "__main__":
    found = xdp.attached(socket.if_nametoindex("eth0"))
    program = Program.of(found.number) if found else None
    assert program
    program.drop([2**64 - 1] * -(-program.buckets // 64))
