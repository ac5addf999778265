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
class DemoResult:
    """What was counted; see each field."""

    mode: Mode
    clients: int
    """Clients that tried to connect, each from an address of its own."""
    hosts: tuple[HostFigures, ...]
    errors: dict[str, str]
    """Why a client was not answered, by its address."""
    syns: int
    """Attempts to connect seen on the wire (a SYN sent again is the same attempt)."""
    syn_acks: int
    """SYN|ACKs seen on the wire."""
    doubles: int
    """Attempts that more than one host answered."""
    unanswered: int
    """Attempts that nobody answered."""
    disagreeing: int
    """Clients whose SYN|ACK did not come from the MAC of the host that they say answered (in
    hub mode, from the listen MAC)."""
    arp_requests: int
    """How often the router asked who has the VIP."""
    arp_replies: int
    """How many answers it got to that."""
    vip_macs: tuple[str, ...]
    """The MACs those answers gave."""
    listen_mac: str
    learned: dict[str, tuple[str, ...]]
    """Every MAC that the switch learned, and at which ports."""
    up_seconds: float
    """Until the lab was up."""
    ready_seconds: float
    """After that, until vipnft and the service ran on every host."""
    clients_seconds: float
    """From the first client's SYN to the last one's answer, the client program's start included."""

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
        return (
            self.answered == self.clients == self.syns
            and not (self.doubles or self.unanswered or self.disagreeing or self.errors)
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
            (up - began, ready - up, done - ready),
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
    seconds: tuple[float, float, float],
) -> DemoResult:
    by_mac = tally.syn_acks_by_mac()
    vip = str(lab.vip)
    up, ready, connected = seconds
    listen_mac = lab.cluster.nics(lab.hosts[0])[0].listen_mac(lab.mode)
    return DemoResult(
        mode=lab.mode,
        clients=clients,
        hosts=tuple(_hosts(lab, Counter(said["answers"].values()), by_mac)),
        errors=said["errors"],
        syns=len(tally.syns),
        syn_acks=tally.syn_acks,
        doubles=len(tally.doubles),
        unanswered=len(tally.unanswered),
        disagreeing=_disagreeing(lab, said["answers"], tally, listen_mac),
        arp_requests=sum(n for asked, n in tally.arp_requests.items() if asked.target == vip),
        arp_replies=sum(n for asked, n in tally.arp_replies.items() if asked.target == vip),
        vip_macs=tuple(sorted(tally.arp_macs[vip])),
        listen_mac=listen_mac,
        learned=learned,
        up_seconds=up,
        ready_seconds=ready,
        clients_seconds=connected,
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
