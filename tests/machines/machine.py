"""One machine: QEMU in the segment's namespace, and what tests do to it.

Rule 1: QEMU is a child of the tests and of the lab: when either ends, so does the machine.
Rule 2: `kill` is a power cut. What the machine had written to its disk is there afterwards, for
        the kernel of this machine has it; what it had not is lost.
"""

import contextlib
import functools
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.machines.guest import Agent, AgentError
from tests.machines.image import Image
from vipnft.lab.lab import Lab

_BOOT = 600.0
"""Seconds in which a machine is up: usually 30 where it is emulated and nothing else runs."""

_PAUSE = 1.0
"""Seconds between two looks: to look takes the CPU from what is waited for."""

_STATE = r"""
journalctl --no-pager -b --output=short-monotonic
echo; nft list ruleset; ip -d link; ip addr; ip route show table all; ip -6 route; bridge fdb
systemctl --no-pager --failed; ls -l /run/vipnft /etc/vipnft; vipnft status
"""


def until(condition: Callable[[], object], *, seconds: float = 60, what: str) -> None:
    """Wait until a condition holds; fail loudly, far beyond the usual time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(_PAUSE)


@functools.cache
def accelerator() -> str:
    """Return how QEMU runs these machines here: with KVM where that is real."""
    # /dev/kvm alone says little: of a paravirtual machine it runs only kernels made for that, and
    # elsewhere the first virtual CPU may fail.
    if any(Path("/sys/module", module).exists() for module in ("kvm_intel", "kvm_amd")):
        words = "qemu-system-x86_64 -accel kvm -cpu host -nodefaults -display none -monitor stdio"
        tried = subprocess.run(words.split(), input=b"quit\n", capture_output=True, check=False)
        if tried.returncode == 0:
            return "kvm"
    return "tcg,thread=multi"


class Machine:
    """Machine `number`, m1 and on, at 192.0.2.11 and on; its port of the segment has its name."""

    memory, cpus = 1024, 1

    def __init__(self, lab: Lab, image: Image, number: int, home: Path) -> None:
        self.name = f"m{number}"
        self.number = number
        self.address = f"192.0.2.1{number}"
        self.address6 = f"2001:db8::1:1{number}"
        self.mac = f"52:54:00:00:00:0{number}"
        self.home = home / self.name
        self.share = self.home / "share"
        self.share.mkdir(parents=True)
        self._lab, self._image, self.system = lab, image, image.system
        self._agent = Agent(self.home / "agent")
        self._qemu: subprocess.Popen[str] | None = None
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw"]
        subprocess.run([*words, str(self.home / "disk")], check=True)

    def start(self) -> None:
        """Switch it on, with its cable plugged in; `up` waits for it."""
        with (self.home / "qemu").open("a") as log:
            self._qemu = self._lab.popen("segment", self._command(), stdout=log, stderr=log)

    def _command(self) -> list[str]:
        # no_timer_check: on a busy machine an emulated timer may be too late for the kernel's test.
        kernel = (
            "root=/dev/vda rw console=ttyS0 loglevel=4 net.ifnames=0 mitigations=off "
            f"no_timer_check systemd.hostname={self.name} systemd.machine_id={self.number:032x}"
        )
        home, cpu = self.home, "host" if accelerator() == "kvm" else "max"
        devices = (
            f"-drive file={home}/disk,if=virtio,cache=unsafe "
            f"-netdev tap,id=cable,ifname={self.name},script=no,downscript=no "
            # A speed, without which LACP takes the NIC for a broken one.
            f"-device virtio-net-pci,netdev=cable,id=nic,mac={self.mac},speed=1000,duplex=full "
            f"-virtfs local,path={self.share},mount_tag=share,security_model=none "
            "-device virtio-rng-pci -device virtio-serial-pci "
            f"-chardev socket,id=agent,path={home}/agent,server=on,wait=off "
            "-device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 "
            f"-qmp unix:{home}/qmp,server=on,wait=off "
            f"-chardev file,id=serial,path={home}/serial,append=on -serial chardev:serial"
        )
        basic = f"-nodefaults -no-user-config -display none -m {self.memory} -smp {self.cpus}"
        return [
            *("qemu-system-x86_64", "-accel", accelerator(), "-cpu", cpu, *basic.split()),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", kernel, *devices.split()),
        ]

    @property
    def runs(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def up(self, *, not_boot: str = "", settled: bool = True) -> None:
        """Wait until it has booted (in another boot than `not_boot`, if given); `settled`: and
        until no unit is being started any more, unless one never ends."""

        def booted() -> bool:
            assert self.runs, f"{self.name}: QEMU has ended"
            with contextlib.suppress(AgentError):
                self._agent.call("guest-ping", within=1)
                return self.boot != not_boot
            return False

        until(booted, seconds=_BOOT, what=f"{self.name} to boot")
        if settled:
            self.run("timeout 100 systemctl is-system-running --wait", check=False)
            # On a busy machine its own job for that may have taken too long, and failed.
            self.run("mountpoint -q /share || mount /share")

    @property
    def boot(self) -> str:
        """What tells one boot from another."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def kill(self) -> None:
        """Cut its power."""
        assert self._qemu
        self._qemu.kill()
        self._qemu.wait()
        self._agent.close()

    def reboot(self, *, settled: bool = True) -> None:
        """Have it boot, as an operator would; returns when it is up again."""
        before = self.boot
        self.run("systemd-run --quiet --on-active=0.1 systemctl reboot")
        self.up(not_boot=before, settled=settled)

    def run(self, script: str, *, check: bool = True, timeout: float = 120, given: str = "") -> str:
        """Return what a shell's script says in the machine; it must succeed, if `check`."""
        ended = self.ended(script, timeout=timeout, given=given)
        if check and ended.returncode:
            raise AssertionError(
                f"{self.name}: `{script}` ended with {ended.returncode}: "
                f"{ended.stdout}{ended.stderr}"
            )
        return ended.stdout

    def ended(
        self, script: str, *, timeout: float = 120, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell's script in the machine, whatever becomes of it."""
        return self._agent.run(script, timeout=timeout, given=given)

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine."""
        self.run(f"mkdir -p $(dirname {path}); cat > {path}", given=text)

    def until(self, script: str, *, seconds: float = 120) -> None:
        """Wait until a shell's script succeeds in the machine."""
        until(
            lambda: self.ended(script).returncode == 0,
            seconds=seconds,
            what=f"`{script}` on {self.name}",
        )

    def cable(self, *, plugged: bool) -> None:
        """Pull its cable, or plug it in: the machine sees its carrier go or come."""
        self._monitor("set_link", name="nic", up=plugged)

    def _monitor(self, what: str, **arguments: Any) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(str(self.home / "qmp"))
            with link.makefile("rw") as lines:
                for message in (
                    {"execute": "qmp_capabilities"},
                    {"execute": what, **_with(arguments)},
                ):
                    lines.write(json.dumps(message) + "\n")
                    lines.flush()
                answers = _answers(lines)
                assert all("return" in next(answers) for _ in range(2)), f"{what}: refused"

    def keep_logs(self, into: Path) -> None:
        """Write down what it can tell of itself, for a person to read."""
        into.mkdir(parents=True, exist_ok=True)
        serial = self.home / "serial"
        if serial.exists():
            (into / f"{self.name}.serial").write_bytes(serial.read_bytes())
        said = "it does not run"
        if self.runs:
            try:
                said = self.run(f"exec 2>&1\n{_STATE}", check=False)
            except AgentError as error:
                said = str(error)
        (into / f"{self.name}.log").write_text(said)


def _with(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"arguments": arguments} if arguments else {}


def _answers(lines: Any) -> Iterator[dict[str, Any]]:
    """Return what QEMU answers, without its greeting and its news."""
    for line in lines:
        found = json.loads(line)
        if "return" in found or "error" in found:
            yield found
