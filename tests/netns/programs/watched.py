"""Run the command inside a host as it is, and look after each step that changes the kernel whether
the XDP stage drops anything that the rules do not drop.

    python watched.py [spoiled] WORD...     (the command's words; none: look once)

`spoiled`: what comes last when rules were loaded fails, so that all is undone.

Says WRONG and what, and exits with 99, where it does; else as the command. On standard error it
says in the end how often it looked while the stage dropped anything.
"""

import atexit
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from vipnft.cli import main
from vipnft.errors import KernelError
from vipnft.host import loaded, stage
from vipnft.host.facts import cells
from vipnft.kernel import nft, xdp
from vipnft.kernel.xdp import Program
from vipnft.ruleset.tables import NETDEV

LOOKS = [0]


def dropping(program: Program) -> set[int]:
    words = program.drops()
    return {b for b in range(program.buckets) if words[b // 64] >> b % 64 & 1}


def look(what: str) -> None:
    """End this process if the stage drops what the rules do not."""
    index = socket.if_nametoindex("eth0")
    found = xdp.attached(index)
    program = Program.of(found.number) if found else None
    if program is None:
        return
    before = dropping(program)
    (seed,) = struct.unpack_from("<I", program.told())
    known = nft.listing((NETDEV,)).get("netdev", "")
    held = cells(program.buckets)
    drops = before & dropping(program)  # an agent may move buckets meanwhile
    program.close()
    if xdp.attached(index) != found:  # or load another
        look(what)
        return
    if not drops:
        return
    LOOKS[0] += 1
    wrong = sorted(b for b in drops if held[b].verdict != "drop")
    if wrong or f"seed {seed:#x}" not in known:
        print(f"WRONG {what}: {wrong}", file=sys.stderr, flush=True)
        os._exit(99)


def watched(owner: Any, name: str) -> None:
    """Look before and after each call."""
    real: Callable[..., Any] = getattr(owner, name)

    def call(*words: Any, **more: Any) -> Any:
        look(f"before {name}")
        result = real(*words, **more)
        look(f"after {name}")
        return result

    setattr(owner, name, call)


if __name__ == "__main__":
    if sys.argv[1:2] == ["spoiled"]:
        del sys.argv[1]
        spoil = mock.patch.object(loaded, "remember", side_effect=KernelError("no space is left"))
        spoil.start()
    if len(sys.argv) > 1:
        watched(nft, "apply")
        watched(xdp, "attach")
        watched(xdp, "detach")
        watched(Program, "drop")
        watched(stage, "_note")
        sys.argv[0] = "vipnft"
        atexit.register(lambda: print(f"looked {LOOKS[0]} times", file=sys.stderr))
        main.main()
    else:
        look("now")
