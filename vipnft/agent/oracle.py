"""Tells anybody on this machine whose a client is, as the cluster has agreed.

Rule 1: who asks is told the host, not the bucket: as little as a client learns by asking the VIP.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from vipnft.agent.signals import start_apart
from vipnft.errors import UsageError
from vipnft.host import asked
from vipnft.model import Cluster, Owners
from vipnft.observe import whose

_PAUSE_S = 0.02  # between two answers: fifty a second take some thousandth of a CPU
_WAIT_S = 0.2  # for a question


class Oracle:
    """Answers for a cluster, whose buckets' owners `owners` returns as they are now."""

    def __init__(self, cluster: Cluster, owners: Callable[[], Owners]) -> None:
        self._cluster, self._owners = cluster, owners

    def start(self) -> str:
        """Answer from now on, to the end of the process; return why that can't be, or ""."""
        try:
            server = asked.opened()
        except OSError as error:
            return f"nobody can ask here whose a client is: {error.strerror}"
        thread = threading.Thread(target=self._run, args=(server,), name="which", daemon=True)
        start_apart(thread)
        return ""

    def _run(self, server: socket.socket) -> None:
        while True:
            with suppress(OSError):
                client, _ = server.accept()
                with client:
                    client.settimeout(_WAIT_S)
                    client.send(self.answer(client.recv(asked.QUESTION_BYTES + 1)))
            time.sleep(_PAUSE_S)

    def answer(self, question: bytes) -> bytes:
        """Return the JSON that answers a question; an object with `error` for what is none."""
        try:
            address, port = whose.client(question.decode("ascii"))
        except (UsageError, UnicodeDecodeError):
            return json.dumps({"error": "no address, nor one with a port"}).encode()
        owners = self._owners()
        found = [
            {
                "services": label,
                "host": owners[number] if number is not None and owners else None,
                "by_port": number is None,
            }
            for label, number in whose.buckets(self._cluster, address, port)
        ]
        return json.dumps({"client": str(address), "port": port, "owners": found}).encode()
