"""The proof in one call: a lab, vipnft on every host, clients, and what passed on the wire.

Rule 1: every figure is counted, none is computed from what ought to happen.
Rule 2: two witnesses: what the services said, and the frames at the router's port.
Rule 3: nothing is printed here, and the lab is gone when this returns or fails.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from subprocess import PIPE

from vipnft.errors import VipnftError
from vipnft.lab import plan
from vipnft.lab.capture import Wire
from vipnft.lab.fdb import FdbWatch
from vipnft.lab.lab import Lab
from vipnft.lab.tally import Tally
from vipnft.model import Mode

PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFigures:
    """One host: clients it answered by its own word, and SYN|ACKs that came from its MAC.

    The latter is None in hub mode, where all hosts send from one MAC.
    """

    name: str
    answers: int
    syn_acks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Attempts to connect as the wire saw them; a SYN sent again is the same attempt."""

    syns: int
    """Attempts."""
    syn_acks: int
    """SYN|ACKs."""
    doubles: int
    """Attempts that more than one host answered."""
    unanswered: int
    """Attempts that nobody answered."""
    disagreeing: int
    """Clients whose SYN|ACK did not come from the MAC of the host that they say answered (in
    hub mode, from the listen MAC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpFigures:
    """The router's questions who has the VIP: how often, how many answers, which MACs they gave."""

    requests: int
    replies: int
    vip_macs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """How long it took until the lab was up; after that, until vipnft and the service ran on every
    host; and from the first client's SYN to the last one's answer, the client program's start
    included."""

    up: float
    ready: float
    clients: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What was counted; see each field."""

    mode: Mode
    clients: int
    """Clients that tried to connect, each from an address of its own."""
    hosts: tuple[HostFigures, ...]
    errors: dict[str, str]
    """Why a client was not answered, by its address."""
    connections: Connections
    arp: ArpFigures
    listen_mac: str
    learned: dict[str, tuple[str, ...]]
    """Every MAC that the switch learned, and at which ports."""
    seconds: Seconds

    @property
    def answered(self) -> int:
        """Clients that were told a host's name."""
        return sum(host.answers for host in self.hosts)

    @property
    def listen_mac_learned(self) -> bool:
        """Whether the switch ever learned the listen MAC: then it no longer floods to all."""
        return self.listen_mac in self.learned

    @property
    def flawless(self) -> bool:
        """Every client answered exactly once, by one host; the listen MAC never learned."""
        seen = self.connections
        return (
            self.answered == self.clients == seen.syns
            and not (seen.doubles or seen.unanswered or seen.disagreeing or self.errors)
            and not self.listen_mac_learned
        )


def demo(
    mode: Mode = Mode.SWITCH, hosts: int = 4, clients: int = 1000, *, name: str = "demo"
) -> DemoResult:
    """Bring a lab up, let `clients` connect through it, count, and take it down."""
    began = time.monotonic()
    with Lab.up(name, hosts, mode) as lab, FdbWatch(lab) as watch:
        up = time.monotonic()
        apply_everywhere(lab)
        serve_everywhere(lab)
        ready = time.monotonic()
        with Wire(lab, plan.ROUTER) as wire:
            said = connect(lab, clients)
            done = time.monotonic()
        watch.stop()
        return _result(
            lab,
            clients,
            said,
            wire.tally,
            {mac: tuple(sorted(ports)) for mac, ports in watch.seen.items()},
            Seconds(up=up - began, ready=ready - up, clients=done - ready),
        )


def apply_everywhere(lab: Lab) -> None:
    """Run `vipnft apply` on every host, a few at a time; VipnftError from the first that fails."""
    argv = ["vipnft", "apply", f"--{lab.mode}"]
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as several:
        list(several.map(lambda host: lab.run(host, argv, check=True, timeout=None), lab.hosts))


def serve_everywhere(lab: Lab, port: int = PORT) -> None:
    """Start a service on every host that tells the host's name; it ends with the lab."""
    argv = [sys.executable, "-Pm", "vipnft.lab.service", str(port)]
    started = [(host, lab.popen(host, argv, stdout=PIPE, stderr=PIPE)) for host in lab.hosts]
    for host, process in started:
        if process.stdout is None or process.stderr is None:
            continue
        with process.stdout, process.stderr:
            if process.stdout.readline() != "ready\n":
                raise VipnftError(f"{host}: no service: {process.stderr.read().strip()}")


def connect(lab: Lab, clients: int, port: int = PORT) -> dict[str, dict[str, str]]:
    """Have clients connect to the VIP; return "answers" and "errors", by client's address."""
    argv = [sys.executable, "-Pm", "vipnft.lab.client", str(lab.vip), str(port), str(clients)]
    said = lab.run(plan.CLIENTS, argv, check=True, timeout=None)
    found: dict[str, dict[str, str]] = json.loads(said.stdout)
    return found


def _result(
    lab: Lab,
    clients: int,
    said: dict[str, dict[str, str]],
    tally: Tally,
    learned: dict[str, tuple[str, ...]],
    seconds: Seconds,
) -> DemoResult:
    by_mac = tally.syn_acks_by_mac()
    vip = str(lab.vip)
    listen_mac = lab.cluster.nics(lab.hosts[0])[0].listen_mac(lab.mode)
    return DemoResult(
        mode=lab.mode,
        clients=clients,
        hosts=tuple(_hosts(lab, Counter(said["answers"].values()), by_mac)),
        errors=said["errors"],
        connections=Connections(
            syns=len(tally.syns),
            syn_acks=tally.syn_acks,
            doubles=len(tally.doubles),
            unanswered=len(tally.unanswered),
            disagreeing=_disagreeing(lab, said["answers"], tally, listen_mac),
        ),
        arp=ArpFigures(
            requests=sum(n for asked, n in tally.arp_requests.items() if asked.target == vip),
            replies=sum(n for asked, n in tally.arp_replies.items() if asked.target == vip),
            vip_macs=tuple(sorted(tally.arp_macs[vip])),
        ),
        listen_mac=listen_mac,
        learned=learned,
        seconds=seconds,
    )


def _disagreeing(lab: Lab, said: dict[str, str], tally: Tally, listen_mac: str) -> int:
    """Compare the two witnesses, client by client."""
    macs = {
        host: listen_mac if lab.mode is Mode.HUB else plan.host_mac(number)
        for number, host in enumerate(lab.hosts, 1)
    }
    return sum(
        macs[said[flow.client]] != answer.mac
        for flow, several in tally.answers.items()
        for answer in several
        if said.get(flow.client) in macs
    )


def _hosts(lab: Lab, answers: Counter[str], by_mac: Counter[str]) -> Iterator[HostFigures]:
    for number, name in enumerate(lab.hosts, 1):
        seen = None if lab.mode is Mode.HUB else by_mac[plan.host_mac(number)]
        yield HostFigures(name=name, answers=answers[name], syn_acks=seen)
