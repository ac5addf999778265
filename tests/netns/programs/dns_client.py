"""Run inside the clients node: one DNS query from each given address; prints who answered.

python dns_client.py SERVER [PADDING]     (addresses, with commas between, on standard input)

An address may have a port behind "|", to be sent from. PADDING (bytes, RFC 7830) makes a query
that comes in fragments.
"""

import itertools
import json
import selectors
import socket
import struct
import sys
import time

QUERY = (
    struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + b"\4name\4test\0" + struct.pack(">2H", 16, 1)
)
TIMEOUT_S = 60.0
AT_ONCE = 32
"""Queries without an answer; more might not fit into the buffer of a server that has to wait."""


def padded(size: int) -> bytes:
    """Return the query with EDNS padding."""
    option = struct.pack(">HH", 12, size) + bytes(size)
    return (
        QUERY[:11] + b"\1" + QUERY[12:] + struct.pack(">BHHIH", 0, 41, 1232, 0, 4 + size) + option
    )


def main(server: str, clients: list[str], padding: int) -> dict[str, str]:
    query = padded(padding) if padding else QUERY
    waiting, left = selectors.DefaultSelector(), iter(clients)

    def ask(name: str) -> None:
        client, _, port = name.partition("|")
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((client, int(port or 0)))
        sock.connect((server, 53))
        sock.send(query)
        waiting.register(sock, selectors.EVENT_READ, (name, sock))

    for name in itertools.islice(left, AT_ONCE):
        ask(name)
    answers: dict[str, str] = {}
    end = time.monotonic() + TIMEOUT_S
    while len(answers) < len(clients) and (seconds := end - time.monotonic()) > 0:
        for key, _ in waiting.select(seconds):
            name, sock = key.data
            answers[name] = _text(sock.recv(512))
            waiting.unregister(sock)
            for following in itertools.islice(left, 1):
                ask(following)
    return answers


def _text(reply: bytes) -> str:
    """Return the first TXT string: question, then a compressed name and 10 bytes of header."""
    at = len(QUERY) + 12
    return reply[at + 1 : at + 1 + reply[at]].decode()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.stdin.read().split(","), int((*sys.argv, "0")[2]))))
