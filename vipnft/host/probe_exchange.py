"""The frames of a probe, sent and heard: one host asks, the others listen and tell what they got.

Rule 1: what is heard is only counted here; what it means is for probe.verdict.
Rule 2: nothing need be applied, and nothing is changed.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from vipnft.host.announce import ethernet
from vipnft.host.probe import (
    ETHERTYPE,
    Kind,
    Message,
    Verdict,
    believed,
    control_mac,
    verdict,
)
from vipnft.kernel import libc
from vipnft.kernel.packet_socket import Port, receive
from vipnft.model import BROADCAST, Cluster, Mode, Nic

_PAUSE_S = 0.02  # seconds between two frames, so that no storm control mistakes them for one
_ANSWERS_S = 2.0  # seconds for which answers are waited for
_RUNS = 100  # that are counted at a time: anybody can begin one
_HEADER_BYTES = 14  # of Ethernet


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One probe: where its frames went, what each host that answered heard of them, and what
    that means."""

    listen_mac: str
    heard: Mapping[str, Message]
    verdict: Verdict


def ask(cluster: Cluster, name: str, nic: Nic, mode: Mode, count: int) -> Probed:
    """Send `count` frames of each kind, and ask all other hosts what they heard."""
    run, listen_mac = secrets.token_hex(8), nic.listen_mac(mode)
    own = libc.mac_of(nic.interface) or ""
    targets = {Kind.LISTEN: listen_mac, Kind.CONTROL: control_mac(mode, run)}
    nonces = {kind: secrets.token_hex(8) for kind in targets}
    others = set(cluster.weights) - {name}
    with Port(nic.interface, ETHERTYPE) as port:
        for kind in [*targets] * count + [Kind.END]:
            told = {kind: nonces[kind]} if kind in nonces else {}
            message = Message(kind=kind, cluster=cluster.name, host=name, run=run, nonces=told)
            target = targets.get(kind, BROADCAST)
            port.send(ethernet(target, own, ETHERTYPE, message.dump()))
            time.sleep(_PAUSE_S)
        heard = _answers(port, run, nonces, others)
    return Probed(
        listen_mac=listen_mac,
        heard=heard,
        verdict=verdict(count, heard, name, mode, others - set(heard)),
    )


def _answers(
    port: Port, run: str, nonces: Mapping[Kind, str], wanted: set[str]
) -> dict[str, Message]:
    """Wait until every host has told what it heard of the listen MAC's frames, or for long
    enough: that one heard none may be said by anybody in its name."""
    end = time.monotonic() + _ANSWERS_S
    found: dict[str, Message] = {}
    while any(one not in found or not found[one].listen for one in wanted):
        if (frame := port.receive(end)) is None:
            break
        message = Message.load(frame[_HEADER_BYTES:])
        if message is not None and (message.run, message.kind) == (run, Kind.HEARD):
            found = believed([*found.values(), message], nonces, wanted)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was heard here of one run, by host `sender`: frames to the listen MAC, and to a MAC
    that nobody has."""

    sender: str
    listen: int
    control: int


class _Run:
    """What was heard of one run so far."""

    def __init__(self) -> None:
        self.heard: Counter[Kind] = Counter()
        self.nonces: dict[Kind, str] = {}

    def count(self, message: Message) -> None:
        """Count a frame; the first of its kind tells the nonce."""
        self.heard[message.kind] += 1
        if message.kind in message.nonces:
            self.nonces.setdefault(message.kind, message.nonces[message.kind])


class Listener:
    """Host `name` on ports that are open: what comes from now on waits to be counted."""

    def __init__(self, ports: Sequence[Port], cluster: Cluster, name: str) -> None:
        self._ports, self._cluster, self._name = ports, cluster, name

    @property
    def interfaces(self) -> list[str]:
        """Where it listens."""
        return [port.interface for port in self._ports]

    def runs(self, until: float) -> Iterator[Heard]:
        """Count what arrives of each run until then (monotonic seconds); yield a run when it is
        over and its sender has been told."""
        runs: dict[str, _Run] = {}
        others = set(self._cluster.weights) - {self._name}
        while (found := receive(self._ports, until)) is not None:
            port, frame = found
            message = Message.load(frame[_HEADER_BYTES:])
            if message is None or message.cluster != self._cluster.name:
                continue
            if message.host not in others or message.kind is Kind.CALL:
                continue
            run = runs.setdefault(message.run, _Run())
            run.count(message)
            if len(runs) > _RUNS:
                del runs[next(iter(runs))]
            if message.kind is Kind.END:
                answer = Message(
                    kind=Kind.HEARD,
                    cluster=self._cluster.name,
                    host=self._name,
                    run=message.run,
                    listen=run.heard[Kind.LISTEN],
                    control=run.heard[Kind.CONTROL],
                    nonces=run.nonces,
                )
                own = libc.mac_of(port.interface) or ""
                port.send(ethernet(frame[6:12].hex(":"), own, ETHERTYPE, answer.dump()))
                yield Heard(sender=message.host, listen=answer.listen, control=answer.control)


@contextmanager
def listener(cluster: Cluster, name: str, mode: Mode) -> Iterator[Listener]:
    """Listen on every segment of host `name`, in the listen MAC's group where the mode has one."""
    with ExitStack() as stack:
        ports = []
        for nic in cluster.nics(name):
            ports.append(stack.enter_context(Port(nic.interface, ETHERTYPE)))
            if mode is Mode.IGMP:
                ports[-1].join(nic.group)
        yield Listener(ports, cluster, name)
