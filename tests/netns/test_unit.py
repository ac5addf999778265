"""The systemd units: systemd itself reads them, and what they grant is enough on the real kernel.

No service manager runs here: mounts and capabilities are made as the units ask for them.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.support import HUB_AND_SWITCH, PROGRAMS, until
from vipnft.lab.lab import Lab
from vipnft.model import Mode

PACKAGING = Path(__file__).parents[2] / "packaging"
ALL = sorted(PACKAGING.glob("*.service"))
SOCKETS = [*PACKAGING.glob("*.socket")]
LOOKERS = [PACKAGING / f"vipnft-{name}.service" for name in ("serve", "snapshot")]
UNITS = [path for path in ALL if path not in LOOKERS]
"""Those that change the network."""
DROP_IN = PACKAGING / "xdp.conf"
EXPOSURE = {
    "vipnft-serve.service": 0.9,
    "vipnft-snapshot.service": 1.4,
    "vipnft.service": 1.8,
    # What is left of it: root, the network, raw frames, Internet sockets; and, each too little for
    # 2.0 by itself, RootDirectory= (checks are the user's programs), ProcSubset= (no /proc/sys),
    # and char-rtc, which ProtectClock= lets in by itself.
    "vipnft-agent.service": 2.1,
}
ADDRESSES = "IPAddressDeny=any\nIPAddressAllow=192.0.2.1\n"
"""What docs/install.md offers, for which somebody must name addresses."""
AS_MOUNTED = """
set -e
for path in /proc/sys /proc/sys/net; do mount --bind $path $path; done
mount -o remount,bind,ro /proc/sys
mount --bind /sys/fs/cgroup /sys/fs/cgroup
mount -o remount,bind,ro /sys/fs/cgroup
exec setpriv --bounding-set=-all,CAPABILITIES --no-new-privs "$@"
"""


@pytest.fixture(params=ALL, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit with a program that is here in place of the installed one."""
    source: Path = request.param
    text, replaced = re.subn(
        r"(?m)^(Exec\w+=)/usr/(bin/vipnft|lib/vipnft/serve)", r"\1/bin/true", source.read_text()
    )
    assert replaced
    path = tmp_path / source.name
    path.write_text(text)
    for socket in SOCKETS:
        (tmp_path / socket.name).write_text(socket.read_text())
    return path


def analyze(verb: str, *words: str) -> str:
    line = ["systemd-analyze", verb, "--no-pager", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_every_line(unit: Path) -> None:
    sockets = [str(path) for path in unit.parent.glob(f"{unit.stem}.socket")]
    assert analyze("verify", "--man=no", str(unit), *sockets) == ""


def exposure(unit: Path) -> float:
    said = analyze("security", "--offline=true", str(unit))
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found[1])


def test_the_service_is_little_exposed(unit: Path) -> None:
    assert exposure(unit) <= EXPOSURE[unit.name]
    if unit.name not in {path.name for path in UNITS}:
        return  # it speaks to localhost alone, or to nobody
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{ADDRESSES}"))
    assert exposure(unit) <= 2.0


def test_systemd_takes_the_drop_in_for_a_stage(unit: Path) -> None:
    drop_in = unit.parent / f"{unit.name}.d" / DROP_IN.name
    drop_in.parent.mkdir()
    drop_in.write_text(DROP_IN.read_text())
    assert analyze("verify", "--man=no", str(unit)) == ""
    drop_in.write_text(DROP_IN.read_text().replace("=bpf", "=no-such-call"))
    assert "no-such-call" in analyze("verify", "--man=no", str(unit))


def granted(unit: str, key: str) -> str:
    """Return what a unit says of a key."""
    path = next(path for path in ALL if path.name == unit)
    return " ".join(re.findall(rf"(?m)^{key}=(.*)$", path.read_text()))


def in_the_unit(lab: Lab, unit: str, *command: str) -> list[str]:
    """Return a command of web1's that has what a unit grants."""
    capabilities = granted(unit, "CapabilityBoundingSet").lower().replace("cap_", "+").split()
    assert set(capabilities) <= {"+net_admin", "+net_raw"}
    assert granted(unit, "User") == "root"
    assert granted(unit, "RestrictNamespaces") == "yes"
    families = granted(unit, "RestrictAddressFamilies").replace(" ", ",")
    lab.run("web1", ["mkdir", "-p", "/run/vipnft"], check=True)
    restricted = [sys.executable, str(PROGRAMS / "restricted.py"), families]
    mounted = AS_MOUNTED.replace("CAPABILITIES", ",".join(capabilities))
    return ["unshare", "--mount", "sh", "-c", mounted, "sh", *restricted, *command]


def as_in_the_unit(lab: Lab, unit: str, *command: str) -> subprocess.CompletedProcess[str]:
    return lab.run("web1", in_the_unit(lab, unit, *command))


@contextmanager
def running(lab: Lab, log: Path, unit: str, *command: str) -> Iterator[None]:
    """Have a command run, as a unit runs it, and end it as systemd does; `log` is what it says."""
    with (
        log.open("w") as said,
        lab.popen("web1", in_the_unit(lab, unit, *command), stderr=said) as process,
    ):
        yield
        process.terminate()


@pytest.mark.parametrize("unit", [path.name for path in UNITS])
def test_it_may_set_the_network_and_nothing_else(lab_up: LabUp, unit: str) -> None:
    lab = lab_up(hosts=1)
    setting = "/proc/sys/net/ipv4/conf/lo/arp_announce"
    done = as_in_the_unit(lab, unit, "sh", "-c", f"echo 2 > {setting} && cat {setting}")
    assert done.stdout == "2\n", done.stderr
    done = as_in_the_unit(lab, unit, "test", "-w", "/proc/sys/kernel/core_pattern")
    assert done.returncode == 1
    for space in ("--net", "--user"):
        done = as_in_the_unit(lab, unit, "unshare", space, "true")
        assert "Operation not permitted" in done.stderr


def test_an_agent_may_read_what_a_unit_used(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    lab.run("web1", ["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
    script = "from vipnft.kernel.cgroup import used; print(used('/') > 0)"
    words = [sys.executable, "-c", script]
    done = as_in_the_unit(lab, "vipnft-agent.service", *words)
    assert done.stdout == "True\n", done.stderr
    assert granted("vipnft-agent.service", "ProtectControlGroups") == "yes"
    done = as_in_the_unit(lab, "vipnft-agent.service", "mkdir", "/sys/fs/cgroup/vipnft-test")
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_what_the_unit_grants_is_enough(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=2, mode=mode)
    for again in range(2):  # the second compares, without a scratch network namespace
        done = as_in_the_unit(lab, "vipnft.service", "vipnft", "apply", f"--{mode}")
        assert done.returncode == 0, done.stderr
        assert "announced" not in done.stderr
        assert ("nothing to do" in done.stdout) == bool(again)
    said = as_in_the_unit(lab, "vipnft.service", "vipnft", "check").stdout
    assert "was not asked" not in said
    for command in (["status"], ["release", "0", "--to", "web2"], ["down"]):
        done = as_in_the_unit(lab, "vipnft.service", "vipnft", *command)
        assert done.returncode in {0, 1}, done.stderr
        assert "vipnft: " not in done.stderr


def test_an_agent_serves_with_what_its_unit_grants(lab_up: LabUp, tmp_path: Path) -> None:
    lab, log = lab_up(hosts=1), tmp_path / "log"
    agent = ["vipnft", "agent", "--switch", "--store", "sqlite:///run/vipnft/unit.db"]
    with running(lab, log, "vipnft-agent.service", *agent):
        until(lambda: "256 of 256 buckets here" in log.read_text(), what="all to be served")
    assert "this host is as it was" in log.read_text()


def test_a_host_without_an_agent_is_seen_with_what_its_unit_grants(
    lab_up: LabUp, tmp_path: Path
) -> None:
    lab, log = lab_up(hosts=1), tmp_path / "log"
    lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    with running(lab, log, "vipnft-snapshot.service", "vipnft", "snapshot"):
        file = ["cat", "/run/vipnft/status.json"]
        until(lambda: lab.run("web1", file).stdout, what="a snapshot")
        found = json.loads(lab.run("web1", file).stdout)
    assert log.read_text() == ""
    assert (found["ready"], found["why"], found["status"]["drift"]) == (True, [], [])


def test_rules_are_loaded_anew_where_nothing_is_known_of_them(lab_up: LabUp) -> None:
    """After an upgrade from a version that did not note what the kernel listed."""
    lab = lab_up(hosts=1)
    apply = ["vipnft", "apply", "--switch"]
    as_in_the_unit(lab, "vipnft.service", *apply)
    lab.run("web1", ["sh", "-c", "rm /run/vipnft/*.rules"], check=True)
    done = as_in_the_unit(lab, "vipnft.service", *apply)
    assert done.returncode == 0, done.stderr
    assert "the whole ruleset was replaced" in done.stdout


def test_what_an_agent_may_write_leads_root_nowhere(lab_up: LabUp) -> None:
    """The record, and what is beside it: links and pipes where root's commands write and read."""
    lab = lab_up(hosts=1)
    lab.run("web1", ["vipnft", "apply", "--switch"], check=True)
    aim = "/run/vipnft/elsewhere"
    name = lab.run("web1", ["sh", "-c", "basename /run/vipnft/*.json .json"], check=True)
    file = f"/run/vipnft/{name.stdout.strip()}"
    for end in (".new", ".lock", ".agent"):
        lab.run("web1", ["ln", "-sf", aim, f"{file}{end}"], check=True)
        lab.run("web1", ["vipnft", "apply", "--switch", "--drain", "0"])
        assert lab.run("web1", ["test", "-e", aim]).returncode == 1, end
        lab.run("web1", ["rm", "-f", f"{file}{end}"], check=True)
    lab.run("web1", ["sh", "-c", f"mv {file}.json {file}.kept && mkfifo {file}.json"], check=True)
    done = lab.run("web1", ["timeout", "20", "vipnft", "status"])
    assert "it is no file" in done.stderr
    lab.run("web1", ["mv", f"{file}.kept", f"{file}.json"], check=True)
    evil = "s#net/ipv4/conf/eth0/arp_ignore#net/ipv4/conf/eth0/../../../../../../run/vipnft/x#"
    lab.run("web1", ["sed", "-i", evil, f"{file}.json"], check=True)
    done = lab.run("web1", ["vipnft", "down"])
    assert done.returncode == 1
    assert "no business with" in done.stderr
    assert lab.run("web1", ["test", "-e", "/run/vipnft/x"]).returncode == 1


def test_a_boot_starts_the_agent_whatever_else_is_enabled(tmp_path: Path) -> None:
    """systemd itself says which of the units that exclude each other it would start."""
    wanted = tmp_path / "multi-user.target.wants"
    wanted.mkdir()
    for name in ("multi-user", "network-online", "sysinit", "basic", "shutdown"):
        (tmp_path / f"{name}.target").write_text("[Unit]\n")
    for name in ("vipnft", "vipnft-agent", "vipnft-snapshot"):
        text = (PACKAGING / f"{name}.service").read_text()
        (tmp_path / f"{name}.service").write_text(re.sub("(?m)^Condition.*", "", text))
        (wanted / f"{name}.service").symlink_to(f"../{name}.service")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o007 == 0:  # nobody is to read what is in it
            path.chmod(0o755)
    words = ["setpriv", "--reuid=65534", "--clear-groups", "/lib/systemd/systemd"]
    words += ["--system", "--test", "--unit=multi-user.target"]
    environment = {"SYSTEMD_UNIT_PATH": str(tmp_path), "HOME": "/", "PATH": "/usr/bin:/bin"}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    started = set(re.findall(r"Action: (vipnft\S*) -> start", said.stdout))
    assert started == {"vipnft-agent.service", "vipnft-snapshot.service"}
