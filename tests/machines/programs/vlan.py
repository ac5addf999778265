"""Run in the router: an interface in a VLAN, by hand, since this machine's kernel may have none.

    python vlan.py INTERFACE NAME TAG

Makes NAME, a tap; what leaves by it leaves INTERFACE with the tag (eight hex digits), and what
comes there with that tag comes by NAME. Prints "ready"; ends when its standard input does.
"""

import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF, _TAP = 0x400454CA, 0x0002 | 0x1000 | 0x4000  # linux/if_tun.h: no PI, a virtio header
_SOL_PACKET, _AUXDATA, _VNET_HDR = 263, 8, 15  # linux/if_packet.h
_HEADER = 10
"""Bytes before each frame that say what is still to be done to it, checksums above all."""
_VLAN_VALID = 1 << 4
_AUX = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, lengths, offsets, the tag's TCI and its EtherType."""
_MACS = _HEADER + 12


def main(interface: str, name: str, tag: str) -> None:
    """Pass frames on until standard input ends."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for option in (_AUXDATA, _VNET_HDR):
        wire.setsockopt(_SOL_PACKET, option, 1)
    wire.bind((interface, 3))
    wanted = bytes.fromhex(tag)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([tap, wire, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        if tap in ready:
            frame = os.read(tap, 65536)
            wire.send(frame[:_MACS] + wanted + frame[_MACS:])
        if wire in ready:
            frame, more, _, (*_, kind, _, _) = wire.recvmsg(65536, 1024)
            if kind != socket.PACKET_OUTGOING and _tag(more) == wanted:
                os.write(tap, frame)


def _tag(more: list[tuple[int, int, bytes]]) -> bytes:
    """Return the tag that the kernel took off a frame."""
    for level, kind, data in more:
        if (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, *_, tci, ethertype = _AUX.unpack(data[: _AUX.size])
            return struct.pack("!HH", ethertype, tci) if status & _VLAN_VALID else b""
    return b""


if __name__ == "__main__":
    main(*sys.argv[1:])
