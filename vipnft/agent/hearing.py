"""Does this host hear what the network should bring to it?

Rule 1: what it means is for reception; here is only what is counted, sent and heard.
Rule 2: a call is one small frame to the listen MAC: whoever the network brings it to hears it. It
        proves nothing, and nothing is done about it but to warn.
"""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from vipnft.agent.reception import Ebb, Reception, Silence, Strays
from vipnft.agreement.records import Member
from vipnft.errors import UsageError
from vipnft.host.announce import ethernet
from vipnft.host.probe import ETHERTYPE, Kind, Message
from vipnft.kernel import libc
from vipnft.kernel.packet_socket import Port, receive
from vipnft.model import Cluster, Mode, Owners

_CALL_S = 30.0  # seconds between two calls
_HEADER_BYTES = 14  # of Ethernet
_MOST = 256  # frames that are read at a look: anybody can send some


class Hearing:
    """Host `me`'s, from look to look; `taken`: how many packets it took so far."""

    def __init__(self, calls: "Calls", me: str) -> None:
        self._calls, self._me = calls, me
        self._reception, self._ebb = Reception(me), Ebb()
        self._strays, self._silence = Strays(), Silence()
        self._beats: Mapping[str, int] = {}
        self.taken = 0

    def look(
        self,
        known: Mapping[str, Member],
        owners: Owners,
        packets: int,
        strays: Mapping[str, tuple[int, str]],
    ) -> list[str]:
        """Compare what this host takes and hears with what the others say: how many `packets` it
        has taken since its rules were loaded, and which `strays`; return what to say."""
        self.taken = packets
        taken = {host: member.taken for host, member in known.items()} | {self._me: packets}
        owned = Counter(owners)
        before, self._beats = self._beats, {host: one.beat for host, one in known.items()}
        living = {h for h, beat in self._beats.items() if before.get(h, beat) != beat} - {self._me}
        heard = self._calls.heard(set(known))
        said = [
            self._reception.look(taken, owned),
            self._ebb.look({host: taken[host] for host in taken if owned.get(host)}),
            self._strays.look(strays),
        ]
        if heard is not None:
            said.append(self._silence.look(heard, living, time.monotonic()))
        return [one for one in said if one]


class Calls:
    """The calls of host `name`, and those of the others."""

    def __init__(self, cluster: Cluster, name: str, mode: Mode) -> None:
        self._cluster, self._name, self._mode = cluster, name, mode
        self._ports = ExitStack()
        self._open: list[Port] = []
        self._call_at = time.monotonic()

    def heard(self, hosts: set[str]) -> set[str] | None:
        """Call, if it is time; return which of these hosts called since; None where that can't be
        known: in hub mode the hosts' own MAC is the listen MAC."""
        if self._mode is Mode.HUB:
            return None
        try:
            self._call()
            return self._read() & hosts
        except UsageError:  # no right to, or the interface is away: others say so
            self._ports.close()
            self._open = []
            return None

    def _call(self) -> None:
        nics = self._cluster.nics(self._name)
        if not self._open:
            for nic in nics:
                port = Port(nic.interface, ETHERTYPE, promiscuous=False)
                self._open.append(self._ports.enter_context(port))
        if time.monotonic() < self._call_at:
            return
        self._call_at = time.monotonic() + _CALL_S
        body = Message(kind=Kind.CALL, cluster=self._cluster.name, host=self._name, run="").dump()
        for port, nic in zip(self._open, nics, strict=True):
            own = libc.mac_of(nic.interface) or ""
            port.send(ethernet(nic.listen_mac(self._mode), own, ETHERTYPE, body))

    def _read(self) -> set[str]:
        found = set()
        for _ in range(_MOST):
            frame = receive(self._open, 0.0)
            if frame is None:
                break
            with suppress(IndexError):
                message = Message.load(frame[1][_HEADER_BYTES:])
                if message and (message.kind, message.cluster) == (Kind.CALL, self._cluster.name):
                    found.add(message.host)
        return found
