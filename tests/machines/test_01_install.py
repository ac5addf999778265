"""Minimal machines get the package, as README tells; `vipnft check` has nothing to say."""

import time

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen
from tests.machines.machine import accelerator

_WHAT = """
uname -r; nft --version | cut -d' ' -f2; python3 --version; systemctl --version | head -n 1
"""


def test_the_package_is_installed_and_check_finds_nothing_wrong(machines: Bed, seen: Seen) -> None:
    began = time.monotonic()
    steps.prepare(machines)
    took = time.monotonic() - began
    said = machines.each(lambda machine: machine.ended("vipnft check"))
    assert [(one.returncode, one.stdout + one.stderr) for one in said if one.returncode] == []
    kernel, nft, python, systemd = machines.machines[0].run(_WHAT).splitlines()
    seen(f"Linux {kernel}, nftables {nft}, {python}, {systemd.split(' (')[0]}")
    seen(f"{accelerator()}: booted in {machines.boot_seconds:.0f} s, installed in {took:.0f} s")


def test_nothing_was_started(machines: Bed) -> None:
    ask = "systemctl is-active vipnft vipnft-agent"
    said = machines.each(lambda machine: machine.run(ask, check=False))
    assert said == ["inactive\ninactive\n"] * 3
