"""Someone at the bridge, who sees every promise, and sends each again: at once, twice, three
seconds later, and with a bit changed. Prints how many frames he sent, when told to stop.

    python -m tests.netns.programs.outsider PORT...
"""

import heapq
import itertools
import random
import signal
import socket
import struct
import sys
import time

from vipnft.kernel.packet_socket import Port, receive

PROMISES = 5520
LATER_S = 3.0


def udp_at(frame: bytes) -> int:
    """Return where UDP to the port of promises begins in a frame; 0 if it is none."""
    kind = frame[12:14]
    at = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(kind, 0)
    protocol = frame[23] if at == 34 else frame[20]
    right = protocol == socket.IPPROTO_UDP and frame[at + 2 : at + 4] == PROMISES.to_bytes(2)
    return at if at and right else 0


def summed(frame: bytes, at: int) -> bytes:
    """Return a frame with its UDP checksum: the kernel leaves it to a NIC that isn't there."""
    body = frame[at : at + 6] + b"\0\0" + frame[at + 8 :]
    addresses = frame[26:34] if at == 34 else frame[22:54]
    whole = addresses + struct.pack("!HH", socket.IPPROTO_UDP, len(body)) + body
    even = whole + bytes(len(whole) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return frame[: at + 6] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + frame[at + 8 :]


def main() -> None:
    """Send until SIGTERM."""
    draw, sent, over = random.Random(1), 0, []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    ports = {name: Port(name, 0x0003) for name in sys.argv[1:]}
    macs = {bytes([2, 0, 0, 0, 0, n]): port for n, port in enumerate(ports.values(), 1)}
    later: list[tuple[float, int, bytes]] = []
    order = itertools.count()
    while not over:
        found = receive(list(ports.values()), time.monotonic() + 0.05)
        due = []
        if found and (at := udp_at(found[1])):
            frame = summed(found[1], at)
            forged = bytearray(frame)
            forged[draw.randrange(at + 8, len(forged))] ^= 1 << draw.randrange(8)
            due = [frame, summed(bytes(forged), at), frame]
            heapq.heappush(later, (time.monotonic() + LATER_S, next(order), frame))
        while later and later[0][0] <= time.monotonic():
            due.append(heapq.heappop(later)[2])
        for frame in due:
            if port := macs.get(frame[:6]):
                port.send(frame)
                sent += 1
    print(sent)


if __name__ == "__main__":
    main()
