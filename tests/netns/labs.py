"""What tests of the lab itself share: names, and whether a packet gets there."""

import os
import socket
import struct

from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.lab import Lab
from vipnft.lab.tally import Tally

ROUTER = str(plan.NEAR_ROUTER)


def name(what: str) -> str:
    """Return a lab's name that nobody else on this machine uses."""
    return f"{what}-{os.getpid()}"


def ping(lab: Lab, node: str, address: str, size: int = 8) -> bool:
    """Send one echo request and tell whether it was answered."""
    with lab.socket(node, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(20)
        head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
        data = head + bytes(size)
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total & 0xFFFF) + (total >> 16)
        raw.sendto(data[:2] + struct.pack("!H", ~total & 0xFFFF) + data[4:], (address, 0))
        while True:
            try:
                answer, (whence, _) = raw.recvfrom(2048)
            except TimeoutError:
                return False
            if answer[20] == 0 and whence == address:
                return True


def seen_last(lab: Lab, sender: str, wire: Wire) -> Tally:
    """Broadcast something, and return when it came by: all that was sent before has, too."""
    with lab.socket(sender, socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(bytes.fromhex("ffffffffffff 02000000aaaa 88b5") + bytes(46))
    return wire.until(lambda tally: tally.sources["02:00:00:00:aa:aa"] > 0)
