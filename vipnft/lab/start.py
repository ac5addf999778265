"""Starts the process that is a lab, see holder.py, and hears from it what was built."""

import json
import os
import shutil
import subprocess
import sys

from vipnft.errors import UsageError, VipnftError
from vipnft.lab import state
from vipnft.lab.plan import Plan
from vipnft.lab.refusal import explain
from vipnft.lab.state import State


def require_tools() -> None:
    """UsageError where what labs are entered with is missing."""
    for tool in "nsenter", "setpriv":
        if shutil.which(tool) is None:
            raise UsageError(f"`{tool}` is not installed", fix="apt install util-linux")


def start(name: str, wanted: Plan) -> State:
    """Start the holder, write down what it has built, and only then let it live."""
    user = os.geteuid() != 0
    asked = {
        "name": name,  # for those who read `ps`
        "hosts": wanted.hosts,
        "mode": wanted.mode.value,
        "mtu": wanted.mtu,
        "user": user,
        "shared": str(state.directory()),
    }
    reader, writer = os.pipe()
    line = [sys.executable, "-Pm", "vipnft.lab.holder", str(writer), json.dumps(asked)]
    with os.fdopen(reader, "rb") as reports:
        first = subprocess.Popen(  # noqa: S603
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        with first:  # leaving this block closes our end of its standard input
            text = reports.read()
            if not text:
                raise VipnftError(
                    "the lab's process died before it said a word",
                    fix=f"see what it says: {' '.join(line[:3])} 1 '{line[4]}'",
                )
            built = json.loads(text)
            if "error" in built:
                raise explain(built, user=user)
            pid = built.pop("pid")
            start = state.start_time(pid)
            if start is None or first.stdin is None:
                raise VipnftError("the lab's process died as soon as it was built", fix="again")
            running = State.load(
                json.dumps(
                    {
                        "name": name, "pid": pid, "start": start, "user": user,
                        "hosts": wanted.hosts, "mode": wanted.mode, "mtu": wanted.mtu, **built,
                    }
                )
            )  # fmt: skip
            state.write(running)
            first.stdin.write(b"+")
    return running
