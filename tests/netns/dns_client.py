"""Run inside the clients node: one DNS query from each of N addresses; prints who answered.

python dns_client.py SERVER N
"""

import ipaddress
import json
import selectors
import socket
import struct
import sys
import time

FIRST = ipaddress.IPv4Address("10.64.0.1")
QUERY = (
    struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + b"\4name\4test\0" + struct.pack(">2H", 16, 1)
)
PATIENCE = 20.0


def main(server: str, count: int) -> dict[str, str]:
    waiting = selectors.DefaultSelector()
    for number in range(count):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.bind((str(FIRST + number), 0))
        client.connect((server, 53))
        client.send(QUERY)
        waiting.register(client, selectors.EVENT_READ, str(FIRST + number))
    answers: dict[str, str] = {}
    end = time.monotonic() + PATIENCE
    while len(answers) < count and (left := end - time.monotonic()) > 0:
        for key, _ in waiting.select(left):
            reply = key.fileobj.recv(512)  # type: ignore[union-attr]
            answers[key.data] = _text(reply)
    return answers


def _text(reply: bytes) -> str:
    """Return the first TXT string: question, then a compressed name and 10 bytes of header."""
    at = len(QUERY) + 12
    return reply[at + 1 : at + 1 + reply[at]].decode()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
