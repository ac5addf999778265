"""The systemd units: systemd itself reads them, and what they grant is enough on the real kernel.

No service manager runs here: mounts and capabilities are made as the units ask for them.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH
from vipnft.lab.lab import Lab
from vipnft.model import Mode

UNITS = sorted((Path(__file__).parents[2] / "packaging").glob("*.service"))
EXPOSURE = 2.5
AS_MOUNTED = """
set -e
for path in /proc/sys /proc/sys/net; do mount --bind $path $path; done
mount -o remount,bind,ro /proc/sys
exec setpriv --bounding-set=-all,+net_admin,+net_raw --no-new-privs "$@"
"""


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit with a program that is here in place of the installed one."""
    source: Path = request.param
    text, replaced = re.subn(r"(?m)^(Exec\w+=)/usr/bin/vipnft", r"\1/bin/true", source.read_text())
    assert replaced
    path = tmp_path / source.name
    path.write_text(text)
    return path


def analyze(verb: str, *words: str) -> str:
    line = ["systemd-analyze", verb, "--no-pager", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_every_line(unit: Path) -> None:
    assert analyze("verify", "--man=no", str(unit)) == ""


def test_the_service_is_little_exposed(unit: Path) -> None:
    said = analyze("security", "--offline=true", str(unit))
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE, said


def as_in_the_unit(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    for unit in UNITS:
        granted = re.findall(r"(?m)^(?:CapabilityBoundingSet|User)=(.*)$", unit.read_text())
        assert sorted(granted) == ["CAP_NET_ADMIN CAP_NET_RAW", "root"]
    lab.run("web1", ["mkdir", "-p", "/run/vipnft"], check=True)
    return lab.run("web1", ["unshare", "--mount", "sh", "-c", AS_MOUNTED, "sh", *command])


def test_it_may_set_the_network_and_nothing_else(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    setting = "/proc/sys/net/ipv4/conf/lo/arp_announce"
    done = as_in_the_unit(lab, "sh", "-c", f"echo 2 > {setting} && cat {setting}")
    assert done.stdout == "2\n", done.stderr
    done = as_in_the_unit(lab, "test", "-w", "/proc/sys/kernel/core_pattern")
    assert done.returncode == 1


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_two_capabilities_are_enough(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=2, mode=mode)
    done = as_in_the_unit(lab, "vipnft", "apply", f"--{mode}")
    assert done.returncode == 0, done.stderr
    assert "announced" not in done.stderr
    assert "was not asked" not in as_in_the_unit(lab, "vipnft", "check").stdout
    for command in (["status"], ["release", "0", "--to", "web2"], ["down"]):
        done = as_in_the_unit(lab, "vipnft", *command)
        assert done.returncode in {0, 1}, done.stderr
        assert "vipnft: " not in done.stderr
