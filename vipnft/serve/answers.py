"""What is answered to which request.

Rule 1: a snapshot that is old, or that nobody wrote, is none: 503, and no metric but the build's.
Rule 2: what is asked for, and is nothing of ours, is refused: a path, a parameter.
Rule 3: nobody is answered at a VIP: there another host may answer, and clients ask.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vipnft import __version__
from vipnft.errors import UsageError
from vipnft.host import asked, published
from vipnft.kernel import clock
from vipnft.observe import metrics, snapshot
from vipnft.observe.snapshot import SnapshotError
from vipnft.serve.http import Refused, Request, Response

TEXT, JSON, HTML = "text/plain; charset=utf-8", "application/json", "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = "collect[]"
_CLIENT_CHARS = 60


class Answers:
    """Answers from the snapshot that `read` gives, as its bytes; OSError if there is none."""

    def __init__(self, read: Callable[[], bytes] = published.read) -> None:
        self._read = read
        page = Path(__file__).with_name("page.html").read_bytes()
        self._page = Response(200, HTML, page, policy=policy(page.decode("utf-8")))
        self._bytes = b""
        self._last: dict[str, Any] = {}

    def answer(self, request: Request, local: str) -> Response:
        """Return what a request is answered that came to a local address."""
        route = _ROUTES.get(request.path)
        if route is None:
            raise Refused(404, "there is nothing of this name")
        known, serve = route
        if set(request.query) - known:
            raise Refused(400, "there is no such parameter here")
        found, why = self._snapshot()
        if found and local in _vips(found):
            raise Refused(421, "nobody is answered at a VIP")
        try:
            return serve(self, request, found, why)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            return self._without(request, "the snapshot is nothing that vipnft wrote")

    def _snapshot(self) -> tuple[dict[str, Any] | None, str]:
        """Return the snapshot, or why there is none."""
        try:
            read = self._read()
            if read != self._bytes:
                self._last = json.loads(read)
                self._bytes = read
            return snapshot.fresh(self._last, clock.boottime()), ""
        except OSError as error:
            return None, f"there is no snapshot: {error.strerror}"
        except (ValueError, RecursionError):
            return None, "the snapshot is nothing that vipnft wrote"
        except SnapshotError as error:
            return None, str(error)

    def _without(self, request: Request, why: str) -> Response:
        if request.path == "/metrics":
            return Response(200, METRICS, metrics.text(None, __version__).encode())
        if request.path.startswith("/api/"):
            return Response(503, JSON, _json({"error": why}))
        return Response(503, TEXT, f"{why}\n".encode())

    def page(self, _: Request, __: Mapping[str, Any] | None, ___: str) -> Response:
        """Return the page, which then asks by itself."""
        return self._page

    def livez(self, _: Request, __: Mapping[str, Any] | None, ___: str) -> Response:
        """Say that this process answers."""
        return Response(200, TEXT, b"ok\n")

    def readyz(self, request: Request, found: Mapping[str, Any] | None, why: str) -> Response:
        """Say whether the host serves as meant."""
        if found is None:
            return self._without(request, why)
        reasons = "\n".join(found["why"]) or "ok"
        return Response(200 if found["ready"] is True else 503, TEXT, f"{reasons}\n".encode())

    def metrics(self, request: Request, found: Mapping[str, Any] | None, why: str) -> Response:
        """Return what Prometheus scrapes."""
        if found is None:
            return self._without(request, why)
        wanted = request.query.get(_BUCKETS, ())
        if set(wanted) - {"buckets"}:
            raise Refused(400, "buckets alone can be collected")
        said = metrics.text(found, __version__, buckets=bool(wanted))
        return Response(200, METRICS, said.encode())

    def status(self, request: Request, found: Mapping[str, Any] | None, why: str) -> Response:
        """Return this host's part, whole but for what all have agreed."""
        if found is None:
            return self._without(request, why)
        return Response(200, JSON, _json({k: v for k, v in found.items() if k != "cluster"}))

    def cluster(self, request: Request, found: Mapping[str, Any] | None, why: str) -> Response:
        """Return what all have agreed."""
        if found is None:
            return self._without(request, why)
        if found["cluster"] is None:
            return self._without(request, "no agent runs here, so nothing was agreed")
        return Response(200, JSON, _json(found["cluster"]))

    def which(self, request: Request, found: Mapping[str, Any] | None, why: str) -> Response:
        """Return whose a client is: the agent knows."""
        clients = request.query.get("client", ())
        if len(clients) != 1 or not 0 < len(clients[0]) <= _CLIENT_CHARS:
            raise Refused(400, "name one client: ?client=198.51.100.7")
        if found is None:
            return self._without(request, why)
        try:
            said = json.loads(asked.ask(clients[0]))
        except UsageError as error:
            return self._without(request, str(error))
        if "error" in said:
            raise Refused(400, str(said["error"]))
        return Response(200, JSON, _json(said))


_ROUTES = {
    "/": (frozenset[str](), Answers.page),
    "/livez": (frozenset[str](), Answers.livez),
    "/readyz": (frozenset[str](), Answers.readyz),
    "/metrics": (frozenset({_BUCKETS}), Answers.metrics),
    "/api/v1/status": (frozenset[str](), Answers.status),
    "/api/v1/cluster": (frozenset[str](), Answers.cluster),
    "/api/v1/which": (frozenset({"client"}), Answers.which),
}


def policy(page: str) -> str:
    """Return the Content-Security-Policy under which the page runs what stands in it, asks this
    server, and nothing else."""
    digests = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
            for one in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("style", "script")
    }
    return (
        "default-src 'none'; connect-src 'self'; img-src data:;"
        f" style-src {digests['style']}; script-src {digests['script']};"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def _vips(found: Mapping[str, Any]) -> set[str]:
    try:
        return {vip for nic in found["status"]["nics"] for vip in nic["vips"]}
    except (KeyError, TypeError):
        return set()


def _json(found: object) -> bytes:
    return (json.dumps(found) + "\n").encode()
