"""Readers of what is seen: requests, the snapshot, and lines that become events."""

from contextlib import suppress

from tests.unit.observe.snapshots import AGENT, STAMP, written
from vipnft.observe import nagios, snapshot
from vipnft.observe.events import KINDS, NOTE, kind_of, public
from vipnft.observe.snapshot import SnapshotError
from vipnft.serve.answers import Answers
from vipnft.serve.http import HEAD_BYTES, REASONS, Refused, Request, Response, parsed

NAMES = frozenset({"localhost"})
SNAPSHOTS = [
    written(agent)
    .replace('"boottime": 1000.0', '"boottime": 0.0')
    .replace('"period": 1.0', '"period": 1e9')
    .encode()
    for agent in (AGENT, None)
]
"""Fresh for some decades."""
REQUESTS = [
    f"{method} {target} HTTP/1.1\r\nHost: localhost:9877\r\n{more}".encode()
    for method, target, more in (
        ("GET", "/", "Accept: */*"),
        ("HEAD", "/metrics?collect[]=buckets", "Content-Length: 0"),
        ("GET", "/api/v1/which?client=%5B2001:db8::7%5D:53", "X-Y: z"),
        ("GET", "/api/v1/status?a=b%20c+d&&x", "User-Agent: x/1 (y)"),
    )
]
_PATHS = ("/", "/livez", "/readyz", "/metrics", "/api/v1/status", "/api/v1/cluster")
LINES = [
    b"took over from web3: silent for 1.20 s",
    b"12 of 256 buckets here, 3 from web2",
    b"found and mended: jhash ip saddr mod 256 seed 0x1; web1's MAC is 02:00",
    b"failing (exec /usr/bin/x --password y: status 1)",
    b"WARNING: web2, web3 does not answer at UDP port 5520",
]
_ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_fixed = Answers(lambda: SNAPSHOTS[0])


def _sound(response: Response) -> None:
    """See that an answer is one: what others wrote adds no header."""
    lines = response.head().split(b"\r\n")
    assert response.status in REASONS
    assert lines[-2:] == [b"", b""]
    assert all(b": " in line for line in lines[1:-2])


def request(value: bytes) -> None:
    """A request is refused, or answered."""
    with suppress(Refused):
        found = parsed(value[:HEAD_BYTES], NAMES)
        assert found.path.startswith("/")
        assert all(name.isprintable() for name in found.query)
        if found.path != "/api/v1/which":  # that is the agent's to answer
            _sound(_fixed.answer(found, "127.0.0.1"))


def snapshots(value: bytes) -> None:
    """What anybody may have written to the file ends nothing, and is told as far as it is known."""
    answers = Answers(lambda: value)
    for path in _PATHS:
        with suppress(Refused):
            _sound(answers.answer(Request(path, {}), "127.0.0.1"))
    with suppress(
        SnapshotError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError
    ):
        _, line = nagios.of_snapshot(snapshot.loaded(value, STAMP.boottime))
        assert line.isprintable()


def line(value: bytes) -> None:
    """A line of the log has one kind, and what anybody may read of it is short, and no secret."""
    text = value.decode("utf-8", errors="surrogateescape")
    assert kind_of(text) in {NOTE, *KINDS}
    said = public(text)
    assert said.isprintable()
    assert len(said) <= 500
    assert "jhash" not in said
    assert "seed" not in said
