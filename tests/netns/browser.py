"""A real browser without a screen, told what to do by the DevTools protocol over two pipes."""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vipnft.lab.lab import Lab

WORDS = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page. `noted` are messages that nobody waited for: events."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._left = b""
        self._numbers = itertools.count(1)
        self.noted: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **given: Any) -> dict[str, Any]:
        """Have a command done, and return its result."""
        number = next(self._numbers)
        said = {"id": number, "method": method, "params": given}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._writes, json.dumps(said).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result
            self.noted.append(found)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            data = os.read(self._reads, 1 << 20)
            assert data, "the browser is gone"
            self._left += data
        one, _, self._left = self._left.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def value(self, expression: str) -> Any:
        """Return what an expression gives in the page."""
        found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self, place: str = "body") -> str:
        """Return what a person reads in a place of the page, as far as it is there by now."""
        return str(self.value(f"document.querySelector({place!r})?.innerText ?? ''"))

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "ArrowRight": 39, "Enter": 13}[key]
            self.tell(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Be a screen of this size."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def dark(self, dark: bool) -> None:
        """Prefer a dark page, or a light one."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def complaints(self) -> list[str]:
        """Return what went wrong in the page: errors, and what its policy forbade."""
        return [
            json.dumps(one["params"])
            for one in self.noted
            if one.get("method") == "Runtime.exceptionThrown"
            or (
                one.get("method") == "Log.entryAdded"
                and one["params"]["entry"]["level"] == "error"
                and "Failed to load resource" not in one["params"]["entry"]["text"]
            )
        ]


@contextmanager
def browser(lab: Lab, node: str, home: Path) -> Iterator[Browser]:
    """Run one on a node of a lab."""
    there, writes = os.pipe()
    reads, back = os.pipe()
    line = f"exec {' '.join(WORDS)} --user-data-dir={home} 3<&{there} 4>&{back}"
    running = subprocess.Popen(
        lab.command(node, ["bash", "-c", line]),
        pass_fds=(there, back),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home), "DBUS_SESSION_BUS_ADDRESS": "unix:path=/dev/null"},
    )
    os.close(there)
    os.close(back)
    try:
        yield Browser(reads, writes)
    finally:
        running.kill()
        running.wait()
        os.close(reads)
        os.close(writes)
