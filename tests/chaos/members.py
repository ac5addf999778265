"""etcd of three members on the router, as agents reach it: by a way that can be slow or cut.

Rule 1: agents ask ports of their own, behind which every byte can be late; who looks on asks the
        members themselves.
Rule 2: an order to etcd goes to whichever member answers; that none does is no error.
"""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.netns.test_etcd_faults import HOME, PASSWORD, Etcd, b64
from vipnft.errors import VipnftError
from vipnft.lab.lab import Lab

SIZE = 3
_KEYS, _END = b64("/vipnft/"), b64("/vipnft0")
_DELAYED = Path(__file__).parent / "programs/delayed.py"


class Members(Etcd):
    """Three members, with users, and `login` for agents' URLs."""

    def __init__(self, lab: Lab, home: Path) -> None:
        super().__init__(lab, home, SIZE, "--bcrypt-cost=4")  # logins that few CPUs can bear
        self._users()
        self.login = f"vip:{PASSWORD}@"
        ports = [f"{self.port(n)}:{2379 + 100 * n}" for n in self.members]
        words = [sys.executable, str(_DELAYED), HOME, *ports]
        pipe = subprocess.PIPE
        self._way = lab.popen("router", words, stdin=pipe, stdout=pipe)
        assert self._way.stdout
        assert self._way.stdout.readline() == "ready\n"

    @property
    def direct(self) -> str:
        """The URL of the members themselves."""
        return super().url

    @property
    def url(self) -> str:
        """The agents' URL."""
        return f"etcd://{self.login}" + ",".join(f"{HOME}:{self.port(n)}" for n in self.members)

    @staticmethod
    def port(number: int) -> int:
        """Return the port by which agents reach a member."""
        return 3379 + 100 * number

    @property
    def ports(self) -> str:
        """All of them, as nft has a set of them."""
        return "{ " + ", ".join(str(self.port(n)) for n in self.members) + " }"

    def processes(self) -> list["subprocess.Popen[str]"]:
        """Return what an answer to an agent passes."""
        return [*self.running.values(), self._way]

    def late(self, seconds: float) -> None:
        """Let a round trip to any member take so much longer."""
        assert self._way.stdin
        self._way.stdin.write(f"{seconds}\n")
        self._way.stdin.flush()

    def stop(self, *numbers: int) -> None:
        """Let members stand still."""
        for n in numbers:
            self.running[n].send_signal(signal.SIGSTOP)

    def go_on(self, *numbers: int) -> None:
        """Let them go on."""
        for n in numbers:
            self.running[n].send_signal(signal.SIGCONT)

    def leader(self) -> int:
        """Return the leader's number; the first member's if none says so."""
        for n in self.members:
            said = self._said(n, "maintenance/status")
            if said and said.get("leader") and said["leader"] == said["header"]["member_id"]:
                return n
        return 0

    def alarm(self, *, on: bool) -> bool:
        """Have no more space, or have it again; tell whether that was done."""
        if on:
            order = {"action": "ACTIVATE", "alarm": "NOSPACE", "memberID": "1"}
            return self._as_root("maintenance/alarm", **order) is not None
        said = self._as_root("maintenance/alarm", action="GET")
        if said is None:
            return False
        for one in said.get("alarms", []):
            self._as_root("maintenance/alarm", **{**one, "action": "DEACTIVATE"})
        return not said.get("alarms")

    def allow(self, kind: str) -> bool:
        """Let agents READ, READWRITE, or nothing (""); tell whether that was done."""
        asked = {"key": _KEYS, "range_end": _END}
        revoked = self._as_root("auth/role/revoke", role="vips", **asked)
        if not kind:
            return revoked is not None
        perm = {"permType": kind, **asked}
        return self._as_root("auth/role/grant", name="vips", perm=perm) is not None

    def _users(self) -> None:
        for user, role in (("root", "root"), ("vip", "vips")):
            self.ask("auth/user/add", name=user, password=PASSWORD)
            self.ask("auth/role/add", name=role)
            self.ask("auth/user/grant", user=user, role=role)
        self.ask("auth/enable")
        assert self.allow("READWRITE")

    def _as_root(self, path: str, **body: Any) -> dict[str, Any] | None:
        """Ask as root, of the first member that answers; None if it was not done."""
        for n in self.members:
            login = self._said(n, "auth/authenticate", name="root", password=PASSWORD)
            if login and "token" in login:
                said = self._said(n, path, token=login["token"], **body)
                # What is to be revoked may be gone.
                done = said is not None and ("code" not in said or "not granted" in str(said))
                return said if done else None
        return None

    def _said(self, number: int, path: str, token: str = "", **body: Any) -> dict[str, Any] | None:
        """Return what a member says; None if it doesn't."""
        header = ["-H", f"Authorization: {token}"] if token else []
        url = f"http://{HOME}:{2379 + 100 * number}/v3/{path}"
        words = ["curl", "-sm2", url, *header, "-d", "@-"]
        with suppress(VipnftError, ValueError):
            said = json.loads(self.lab.run("router", words, input=json.dumps(body)).stdout)
            return said if isinstance(said, dict) else None
        return None
