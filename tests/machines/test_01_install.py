"""Minimal machines get the package, as README tells; `vipnft check` has nothing to say."""

import time

from tests.machines import steps
from tests.machines.bed import Bed
from tests.machines.conftest import Seen
from tests.machines.machine import Machine, accelerator

_WHAT = """
uname -r; nft --version | cut -d' ' -f2; python3 --version; systemctl --version | head -n 1
"""


def test_the_package_is_installed_and_check_finds_nothing_wrong(machines: Bed, seen: Seen) -> None:
    def install(machine: Machine) -> str:
        steps.remember(machine, "files")
        steps.install(machine, machines.package)
        steps.configure(machine)
        steps.remember(machine, "network")
        ended = machine.ended("vipnft check")
        return "" if ended.returncode == 0 else f"{machine.name}: {ended.stdout}{ended.stderr}"

    began = time.monotonic()
    assert machines.each(install) == [""] * 3
    took = time.monotonic() - began
    kernel, nft, python, systemd = machines.machines[0].run(_WHAT).splitlines()
    seen(f"Linux {kernel}, nftables {nft}, {python}, {systemd.split(' (')[0]}")
    seen(f"{accelerator()}: booted in {machines.boot_seconds:.0f} s, installed in {took:.0f} s")


def test_nothing_was_started(machines: Bed) -> None:
    for unit in ("vipnft", "vipnft-agent"):
        said = machines.each(lambda m: m.run(f"systemctl is-active {unit}", check=False))  # noqa: B023
        assert said == ["inactive\n"] * 3
