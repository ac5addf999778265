"""The verb that shows what can be seen of this host: serve."""

import os
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.output import say
from vipnft.errors import UsageError

if TYPE_CHECKING:
    import socket

_HANDED = 3
"""The descriptor in which a process that is handed one socket finds it: sd_listen_fds(3)."""


def serve(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Where to answer; never at a VIP.")
    ] = "127.0.0.1:9877",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which this host is asked, beside its own."),
    ] = None,
) -> None:
    """Show the snapshot: a page at `/`, `/metrics`, `/livez`, `/readyz`, `/api/v1/`.

    It needs no privilege. Whoever can connect may look; nobody can change anything.
    """
    listener = _listener(listen)
    say(f"http://{listen}/")
    if listener.fileno() == _HANDED:
        listener.set_inheritable(True)
    else:
        os.dup2(listener.fileno(), _HANDED)
    handed = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    words = [sys.executable, "-Pm", "vipnft.serve", *(name or ())]
    os.execve(sys.executable, words, handed)  # noqa: S606


def _listener(listen: str) -> "socket.socket":
    """Return a socket that listens; UsageError if there can be none."""
    import socket as network

    found = re.fullmatch(r"([0-9.]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", listen)
    if not found or int(found[2]) > 65535:
        raise UsageError(
            f"{listen!r} is no address with a port", fix="such as 127.0.0.1:9877 or [::1]:9877"
        )
    family = network.AF_INET6 if listen.startswith("[") else network.AF_INET
    one = network.socket(family, network.SOCK_STREAM)
    try:
        one.setsockopt(network.SOL_SOCKET, network.SO_REUSEADDR, 1)
        one.bind((found[1].strip("[]"), int(found[2])))
        one.listen(128)
    except OSError as error:
        one.close()
        raise UsageError(
            f"{listen} can't be listened on: {error.strerror}", fix="another one: --listen"
        ) from error
    return one
