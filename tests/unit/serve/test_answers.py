"""What is answered: the documents, and what becomes of a snapshot that is none."""

import json
import re
from typing import Any

import pytest

from tests.unit.observe.snapshots import written
from vipnft.kernel import clock
from vipnft.serve.answers import Answers
from vipnft.serve.http import Refused, Request, Response

PATHS = ("/readyz", "/metrics", "/api/v1/status", "/api/v1/cluster", "/api/v1/which")


def fresh(**changes: Any) -> bytes:
    found = json.loads(written()) | changes
    found["written"]["boottime"] = clock.boottime()
    return json.dumps(found).encode()


def ask(path: str, found: bytes | OSError | None = None, local: str = "127.0.0.1") -> Response:
    def read() -> bytes:
        if isinstance(found, OSError):
            raise found
        return fresh() if found is None else found

    name, _, query = path.partition("?")
    several = {pair.split("=")[0]: (pair.split("=")[1],) for pair in query.split("&") if pair}
    return Answers(read).answer(Request(name, several), local)


def test_the_documents() -> None:
    status = json.loads(ask("/api/v1/status").body)
    assert status["status"]["host"] == "web1"
    assert status["events"][0]["kind"] == "takeover"
    assert "cluster" not in status
    assert json.loads(ask("/api/v1/cluster").body)["hosts"]["web2"]["state"] == "failing"
    assert ask("/livez").body == b"ok\n"


def test_ready_or_why_not() -> None:
    assert ask("/readyz").status == 200
    said = ask("/readyz", fresh(ready=False, why=["no lease", "a check is down: x"]))
    assert (said.status, said.body) == (503, b"no lease\na check is down: x\n")


NONE = [
    OSError(2, "No such file or directory"),
    written().encode(),  # of long ago
    b"",
    b"[]",
    b"7",
    b'"x"',
    b"\xff",
    b"[" * 100_000,
    b"{}",
    fresh(format=2),
    fresh(period="x"),
]
GARBLED = [
    fresh(status=None, cluster=None, why=7),
    fresh(status={"nics": 7}, cluster={}, why=None),
    fresh(status=[], cluster=[7], why=[7]),
]


@pytest.mark.parametrize("found", NONE, ids=range(len(NONE)))
def test_an_old_snapshot_is_none(found: bytes | OSError) -> None:
    for path in PATHS:
        said = ask(path + "?client=192.0.2.7" * path.endswith("which"), found)
        if path == "/metrics":
            assert said.body.decode().count("\nvipnft_") == 1
            assert b"\nvipnft_build_info{" in said.body
        else:
            assert said.status == 503, path
    assert ask("/livez", found).status == 200
    assert ask("/", found).status == 200


@pytest.mark.parametrize("found", GARBLED, ids=range(len(GARBLED)))
def test_what_nobody_wrote_ends_nothing(found: bytes) -> None:
    for path in PATHS[:4]:
        assert ask(path, found).status in {200, 503}
    assert ask("/metrics", found).body.decode().count("\nvipnft_") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/../etc/passwd", 404),
        ("/metrics/", 404),
        ("/metrics?x=1", 400),
        ("/metrics?collect[]=all", 400),
        ("/readyz?x=1", 400),
        ("/api/v1/which", 400),
        ("/api/v1/which?client=", 400),
        (f"/api/v1/which?client={'1' * 61}", 400),
    ],
)
def test_what_there_is_not(path: str, status: int) -> None:
    with pytest.raises(Refused) as found:
        ask(path)
    assert found.value.status == status


def test_nobody_is_answered_at_a_vip() -> None:
    with pytest.raises(Refused) as found:
        ask("/", local="192.0.2.100")
    assert found.value.status == 421


def test_without_an_agent_there_is_no_cluster() -> None:
    found = json.loads(written(agent=None))
    found["written"]["boottime"] = clock.boottime()
    assert ask("/api/v1/cluster", json.dumps(found).encode()).status == 503
    assert b"vipnft_taken_packets_total" in ask("/metrics", json.dumps(found).encode()).body


def test_the_page_runs_what_stands_in_it_and_nothing_else() -> None:
    page = ask("/")
    assert len(page.body) < 60_000
    assert re.search(r"script-src 'sha256-[\w+/]{43}=';", page.policy)
    assert re.search(r"style-src 'sha256-[\w+/]{43}=';", page.policy)
    assert "unsafe" not in page.policy
    text = page.body.decode()
    assert not re.findall(r"https?://|innerHTML|\son\w+=|\sstyle=", text)
    assert not re.findall(r"(?:src|href)=\"(?!data:,)", text)
