"""Whose a client is, asked of this host's agent: /run/vipnft/which.sock.

Rule 1: the seed stays with the agent: a question is an address, the answer says who owns it.
Rule 2: nobody who asks delays a beat: questions are short, answered one after another, and no more
        than some tens a second.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from vipnft.errors import UsageError

PATH = Path("/run/vipnft/which.sock")
QUESTION_BYTES = 64
ANSWER_BYTES = 4096
_WAIT_S = 0.2
_BACKLOG = 8


def ask(question: str) -> bytes:
    """Return what the agent says; UsageError where none answers at once."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as agent:
            agent.settimeout(_WAIT_S)
            agent.connect(os.fspath(PATH))
            agent.send(question.encode()[: QUESTION_BYTES + 1])
            return agent.recv(ANSWER_BYTES)
    except OSError as error:
        raise UsageError(
            "no agent answers here whose a client is", fix="vipnft which CLIENT, as root"
        ) from error


def opened() -> socket.socket:
    """Return the socket on which anybody on this machine may ask; OSError."""
    forget()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        server.bind(os.fspath(PATH))
        PATH.chmod(0o666)
        server.listen(_BACKLOG)
    except OSError:
        server.close()
        raise
    return server


def forget() -> None:
    """Remove it: nobody answers any more."""
    with suppress(OSError):
        PATH.unlink()
