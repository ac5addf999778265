"""What happened on this host, for whoever looks: /run/vipnft/events.jsonl, a line of JSON each.

Rule 1: the agent writes, or where none lives one command at a time, a line at once, at the end;
        numbers go up by one, over all of them: one that is not there is an event that is not there.
Rule 2: it is bounded: a file that is full is kept once more, under another name.
Rule 3: whoever reads reads what anybody may have written: what is no event is passed over.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from vipnft.host import kept

HOME = Path("/run/vipnft")
_MOST_BYTES = 1 << 20
_LINE_BYTES = 64 << 10
_END = 2**35  # seconds since 1970: what a date can be made of


class EventFile:
    """The file in a directory, and beside it what hooks were called for."""

    def __init__(self, home: Path = HOME) -> None:
        self.path, self.before = home / "events.jsonl", home / "events.1.jsonl"
        self._hooked = home / "events.hooked"

    def append(self, event: str) -> None:
        """Add an event, in JSON; OSError."""
        data = f"{event}\n".encode()
        handle = self._to_append()
        try:
            size = os.fstat(handle).st_size
            if size + len(data) > _MOST_BYTES:
                self.path.replace(self.before)
                os.close(handle)
                handle = self._to_append()
                size = 0
            if os.write(handle, data) < len(data):  # a part of it would spoil the next one, too
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)

    def _to_append(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self.path, flags | os.O_NONBLOCK, 0o644)
        os.fchmod(handle, 0o644)  # whatever the umask
        return handle

    def last(self) -> int:
        """Return the number of the last event, 0 if there is none; OSError."""
        for path in (self.path, self.before):
            with suppress(FileNotFoundError), kept.opened(path) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LINE_BYTES))
                for line in reversed(file.read(_LINE_BYTES).splitlines()):
                    if event := read(line):
                        return int(event["number"])
        return 0

    def hooked(self) -> int | None:
        """Return the number of the last event that hooks were called for; None: there were none."""
        with suppress(OSError, ValueError):
            return int(kept.read(self._hooked))
        return None

    def note_hooked(self, number: int | None) -> None:
        """Note that hooks were called for an event, or, by None, that there are none; OSError."""
        if number is None:
            self._hooked.unlink(missing_ok=True)
        else:
            kept.replace(self._hooked, str(number))


class Reader:
    """Reads all that is there, then what is added."""

    def __init__(self, events: EventFile) -> None:
        self._events = events
        self._file: BinaryIO | None = None
        self._rest = b""

    def more(self) -> Iterator[dict[str, Any]]:
        """Yield the events that were added since; OSError if a file is none, or not to be read."""
        if self._file is None:
            yield from self._begin()
        while self._file is not None:
            yield from self._lines(self._file)
            if not self._has_moved(self._file):
                return
            yield from self._lines(self._file)  # added before it moved
            behind = os.fstat(self._file.fileno())
            self._file.close()
            self._file, self._rest = None, b""
            yield from self._begin(behind)

    def _begin(self, behind: os.stat_result | None = None) -> Iterator[dict[str, Any]]:
        """Open the file; yield what is in the one before it, unless that is `behind`."""
        try:
            self._file = kept.opened(self._events.path)
        except FileNotFoundError:
            return
        with suppress(FileNotFoundError), kept.opened(self._events.before) as before:
            stats = [os.fstat(before.fileno()), os.fstat(self._file.fileno())]
            same = any(os.path.samestat(stats[0], one) for one in (stats[1], behind) if one)
            if not same:
                yield from self._lines(before)
                self._rest = b""

    def _has_moved(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(self._events.path.lstat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False  # it moved, or is gone; what comes instead does not stand there yet

    def _lines(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        if os.fstat(file.fileno()).st_size < file.tell():  # somebody made it shorter
            file.seek(0)
            self._rest = b""
        while data := file.readline(_LINE_BYTES):
            self._rest += data
            if data.endswith(b"\n"):
                line, self._rest = self._rest, b""
                if event := read(line):
                    yield event
            elif len(self._rest) > _LINE_BYTES:
                self._rest = b" "  # too long to be one, as is what follows


def read(line: bytes) -> dict[str, Any] | None:
    """Return the event that a line is; None for anything else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        texts = ("kind", "text", "severity")
        if (
            isinstance(found, dict)
            and isinstance(found.get("number"), int)
            and isinstance(found.get("time"), int | float)
            and 0 <= found["time"] < _END
            and all(isinstance(found.get(name), str) for name in texts)
        ):
            return found
    return None
