"""The verb that tells what happened on this host: events."""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipnft.cli.output import document, say
from vipnft.errors import UsageError

if TYPE_CHECKING:
    from vipnft.host.event_file import Reader

_PAUSE_S = 0.2


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more, five times a second.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as hooks are given it.")
    ] = False,
) -> None:
    """Show what happened on this host, oldest first, as far as its agents and commands kept it.

    Some thousand events are kept, until the machine restarts. Whoever may log in may look.
    """
    from vipnft.host.event_file import EventFile, Reader

    reader = Reader(EventFile())
    before: int | None = None
    while True:
        before = _show(reader, before, as_json=as_json)
        if not follow:
            break
        time.sleep(_PAUSE_S)
    if before is None:
        raise UsageError(
            "no event is kept here: neither an agent nor `vipnft apply` did anything",
            fix="vipnft status",
        )


def _show(reader: "Reader", before: int | None, *, as_json: bool) -> int | None:
    """Show what is new behind number `before`; return the last number."""
    try:
        found = list(reader.more())
    except OSError as error:
        raise UsageError(f"events can't be read: {error.strerror or error}") from error
    for event in found:
        if before is not None and event["number"] > before + 1:
            say(f"... {event['number'] - before - 1} events are missing here", error=as_json)
        before = event["number"]
        document(json.dumps(event)) if as_json else say(line(event))
    return before


def line(event: dict[str, Any]) -> str:
    """Return an event for people."""
    when = datetime.fromtimestamp(event["time"]).astimezone()
    return (
        f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03}"
        f" {event['severity']:7} {event['kind']:12} {event['text']}"
    )
