"""Run on a machine: an SCTP association from each of its addresses given, before and after a move.

    python sctp_client.py DIRECTORY SERVER CLIENT...

Writes DIRECTORY/open: whom each association reached. Once DIRECTORY/moved is there, writes
DIRECTORY/over: whom the same associations reach now, and whom new ones.
"""

import json
import socket
import sys
import time
from pathlib import Path

PATIENCE_S = 30


def associated(server: str, client: str) -> socket.socket:
    """Return an association from one address."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    one.settimeout(PATIENCE_S)
    one.bind((client, 0))
    one.connect((server, 9))
    return one


def ask(one: socket.socket) -> str:
    """Return which host is at the other end; what went wrong, if anything did."""
    try:
        one.sendall(b"who")
        return one.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def write(path: Path, found: object) -> None:
    """Write all of it at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(found))
    new.rename(path)


def main(home: Path, server: str, *clients: str) -> None:
    """Ask, wait for the move, ask again."""
    associations = {client: associated(server, client) for client in clients}
    write(home / "open", {client: ask(one) for client, one in associations.items()})
    while not (home / "moved").exists():
        time.sleep(0.2)
    found = {
        "same": {client: ask(one) for client, one in associations.items()},
        "new": {client: ask(associated(server, client)) for client in clients},
    }
    write(home / "over", found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
