"""Commands in a machine, without a network: QEMU's guest agent, on a virtio port.

Rule 1: one question at a time, each with its answer. Whoever has lost the thread (a timeout, a
        boot) begins again with guest-sync-delimited, after which nothing old is in the way.
Rule 2: a command runs by itself in the machine and is asked for: many may run at once.
"""

import base64
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

_POLL = 0.05, 1.0
"""Seconds between two looks whether a command has ended, at first and at most: the machine writes
each of them into its journal, which costs an emulated one more than many a command."""
_ANSWER = 20.0
"""Seconds within which the agent of a machine that is up answers, however busy the machine."""


class AgentError(Exception):
    """The agent doesn't answer, or says that it can't."""


class Agent:
    """The agent in a machine, at the Unix socket that its QEMU listens on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._rest = b""

    def call(self, what: str, *, within: float = _ANSWER, **arguments: Any) -> Any:
        """Return what the agent answers; AgentError if it doesn't, or if it refuses."""
        with self._lock:
            try:
                if self._link is None:
                    self._connect(within)
                answer = self._ask({"execute": what, "arguments": arguments}, within)
            except (OSError, ValueError) as error:
                self._forget()
                raise AgentError(f"{self._path.name}: {what}: {error or 'no answer'}") from error
        if "error" in answer:
            raise AgentError(f"{self._path.name}: {what}: {answer['error']['desc']}")
        return answer["return"]

    def run(
        self, script: str, *, given: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell's script in the machine to its end; `given` is its standard input."""
        wanted: dict[str, Any] = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
        if given:
            wanted["input-data"] = base64.b64encode(given.encode()).decode()
        started = self.call("guest-exec", **wanted)
        end, pause = time.monotonic() + timeout, _POLL[0]
        within = max(_ANSWER, timeout / 10)  # what runs long may leave the agent no CPU for as long
        asked = {"pid": started["pid"]}
        while not (found := self.call("guest-exec-status", within=within, **asked))["exited"]:
            if time.monotonic() > end:
                raise AgentError(f"{self._path.name}: not done within {timeout:g} s: {script}")
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL[1])
        code = found.get("exitcode", -found.get("signal", 0))
        out, err = (base64.b64decode(found.get(f"{of}-data", "")) for of in ("out", "err"))
        return subprocess.CompletedProcess(
            script, code, out.decode(errors="replace"), err.decode(errors="replace")
        )

    def close(self) -> None:
        """Let go of the machine; the next call begins anew."""
        with self._lock:
            self._forget()

    def _connect(self, within: float) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(within)
        self._link.connect(str(self._path))
        number = time.monotonic_ns() % 2**31
        # 0xff ends whatever half a message the agent may still be reading.
        self._send(b"\xff", {"execute": "guest-sync-delimited", "arguments": {"id": number}})
        while self._line(within).get("return") != number:
            pass

    def _forget(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link, self._rest = None, b""

    def _ask(self, message: dict[str, Any], within: float) -> dict[str, Any]:
        self._send(b"", message)
        return self._line(within)

    def _send(self, before: bytes, message: dict[str, Any]) -> None:
        assert self._link
        self._link.sendall(before + json.dumps(message).encode() + b"\n")

    def _line(self, within: float) -> dict[str, Any]:
        assert self._link
        end = time.monotonic() + within
        while b"\n" not in self._rest:
            self._link.settimeout(max(end - time.monotonic(), 0.001))
            if not (data := self._link.recv(65536)):
                raise ConnectionResetError("QEMU has hung up")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line.rpartition(b"\xff")[2])
        return found
