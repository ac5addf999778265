"""The lab on the real kernel: what it builds, and that nothing of it is left."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.netns.labs import ROUTER, name, ping, seen_last
from tests.netns.support import until
from vipnft.errors import UsageError, VipnftError
from vipnft.lab import demo, plan
from vipnft.lab.capture import Wire
from vipnft.lab.client import ask_all
from vipnft.lab.frames import ICMP
from vipnft.lab.lab import Lab
from vipnft.lab.state import State
from vipnft.model import Mode


def processes() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def traces(lab: str) -> list[str]:
    """Return whatever this machine knows of a lab: files, processes, mounts, named namespaces."""
    files = [str(path) for path in Path("/run/vipnft-lab").glob(f"{lab}.*")]
    running = [line for line in processes().values() if f'"name": "{lab}"' in line]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if lab in line]
    named = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return files + running + mounts + [line for line in named.splitlines() if lab in line]


def made() -> str:
    """Return this machine's own links of the kinds that labs are made of: drivers that are loaded
    meanwhile bring others."""
    kinds = (["ip", "-o", "link", "show", "type", kind] for kind in ("bridge", "veth"))
    return "".join(subprocess.check_output(words, text=True) for words in kinds)


def gone(process: int) -> None:
    """Wait for the end of the process that a pidfd is open on."""
    assert select.select([process], [], [], 10)[0]
    os.close(process)


def test_up_and_down_leave_nothing() -> None:
    mine = name("traceless")
    before = traces(mine)
    links = made()
    with Lab.up(mine, 2) as lab:
        assert len(traces(mine)) == len(before) + 3  # two files, one process
        assert mine in Lab.names()
    assert not lab.runs
    assert mine not in Lab.names()
    assert traces(mine) == before
    assert made() == links
    lab.down()


def test_down_ends_every_process_of_the_lab() -> None:
    mark = f"98765.{os.getpid()}"
    lab = Lab.up(name("ends"), 2)
    lab.popen("web1", ["sleep", mark])
    lab.run("web2", ["sh", "-c", f"trap '' TERM HUP; setsid sleep {mark} >&- 2>&- &"])
    until(lambda: sum(mark in line for line in processes().values()) == 2, what="both")
    lab.down()
    assert not [line for line in processes().values() if mark in line]


def test_kill_9_ends_everything_and_up_works_again() -> None:
    mine, mark = name("killed"), f"98764.{os.getpid()}"
    lab = Lab.up(mine, 2)
    argv = ["sh", "-c", f"echo up; exec sleep {mark}"]
    sleeper = lab.popen("web1", argv, stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "up\n"
    sleeper.stdout.close()
    holder = os.pidfd_open(lab.pid)
    os.kill(lab.pid, signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL
    gone(holder)
    assert not [line for line in processes().values() if mark in line]
    with pytest.raises(UsageError, match="no lab") as missing:
        Lab.find(mine)
    assert missing.value.fix == f"vipnft lab up --name {mine}"
    with Lab.up(mine, 2) as again:
        assert ping(again, "web1", ROUTER)
    assert not traces(mine)


def test_a_second_lab_of_the_same_name_is_refused(switch: Lab) -> None:
    with pytest.raises(UsageError, match="already runs") as refused:
        Lab.up(switch.name)
    assert f"vipnft lab down --name {switch.name}" in refused.value.fix
    assert Lab.find(switch.name).pid == switch.pid


def test_two_labs_at_once_do_not_meet(switch: Lab, hub: Lab) -> None:
    assert {switch.name, hub.name} <= set(Lab.names())
    with Wire(hub, "router", keep=True) as other, Wire(switch, "router", keep=True) as wire:
        assert ping(switch, "web1", ROUTER)
        seen_last(hub, "web1", other)
    assert [frame for frame in wire.frames if frame.protocol == ICMP]
    assert not [frame for frame in other.frames if frame.protocol == ICMP]


@pytest.mark.parametrize("bad", ["", "Lab", "a/b", "../x", "a b", "-x", "x" * 32])
def test_bad_names_are_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="can't be a lab's name"):
        Lab.up(bad)


def test_a_failure_while_building_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = name("broken")
    carriers = []

    def fail(state: State) -> None:
        carriers.append(os.pidfd_open(state.pid))
        raise ZeroDivisionError

    monkeypatch.setattr("vipnft.lab.state.write", fail)
    with pytest.raises(ZeroDivisionError):
        Lab.up(mine, 2)
    for holder in carriers:
        gone(holder)
    assert len(carriers) == 1
    assert not traces(mine)


def test_the_lab_has_left_our_session_and_network(switch: Lab) -> None:
    assert os.getsid(switch.pid) != os.getsid(0)
    ours = Path("/proc/self/ns/net").readlink()
    for node in switch.nodes:
        theirs = switch.run(node, ["readlink", "/proc/self/ns/net"]).stdout.strip()
        assert theirs != str(ours)


def test_a_node_is_a_machine_of_its_own(switch: Lab) -> None:
    for node in switch.nodes:
        said = switch.run(node, ["sh", "-c", "hostname; ls /sys/class/net; ls /run"]).stdout.split()
        assert said[0] == node
        assert "lo" in said
        assert said[-1] == "vipnft-lab"  # and nothing else of the machine's /run
    assert {"br0", "web1", "web2", "web3", "router"} < set(
        switch.run("segment", ["ls", "/sys/class/net"]).stdout.split()
    )


def test_run_directories_are_private_and_files_else_shared(switch: Lab, tmp_path: Path) -> None:
    switch.run("web1", ["touch", "/run/mine", str(tmp_path / "ours")], check=True)
    assert not Path("/run/mine").exists()
    assert switch.run("web2", ["ls", "/run/mine"]).returncode == 2
    assert (tmp_path / "ours").exists()


def test_exit_code_output_input_and_environment(switch: Lab) -> None:
    said = switch.run(
        "web1",
        ["sh", "-c", "cat; echo $VIPNFT_CONFIG $MORE >&2; pwd; exit 7"],
        input="in\n",
        env={"MORE": "more"},
    )
    assert said.returncode == 7
    assert said.stdout == f"in\n{Path.cwd()}\n"
    assert said.stderr == f"{switch.config} more\n"
    assert switch.run("web2", ["cat", str(switch.config)]).stdout == switch.config.read_text()
    assert switch.run("web1", ["sh", "-c", "kill -9 $$"]).returncode == -9
    assert switch.run("web1", ["which", "python"]).stdout.strip() == str(
        Path(sys.executable).parent / "python"
    )


def test_check_and_timeout_are_errors_that_say_what(switch: Lab) -> None:
    with pytest.raises(VipnftError, match="web1: `false` ended with 1: it said nothing"):
        switch.run("web1", ["false"], check=True)
    with pytest.raises(VipnftError, match=r"did not end within 0\.1 s"):
        switch.run("web1", ["sleep", "60"], timeout=0.1)
    with pytest.raises(UsageError, match="has no node 'web9'") as unknown:
        switch.run("web9", ["true"])
    assert "web1, web2, web3" in unknown.value.fix


def test_a_command_line_works_from_any_shell(switch: Lab) -> None:
    line = switch.command("web2", ["sh", "-c", "hostname; echo $VIPNFT_CONFIG; exit 5"])
    said = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (5, f"web2\n{switch.config}\n")


def test_a_killed_command_line_takes_what_it_started_along(switch: Lab) -> None:
    mark = f"98763.{os.getpid()}"
    line = switch.command("web1", ["sh", "-c", f"echo here; exec sleep {mark}"])
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        assert front.stdout.readline() == "here\n"
        front.kill()
        assert front.stdout.read() == ""  # the end of the output is the end of the sleep
    assert not [line for line in processes().values() if line.startswith(f"sleep {mark}")]


def test_signals_reach_the_command_itself(switch: Lab) -> None:
    process = switch.popen("web1", ["sleep", "60"])
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def test_orphans_are_reaped(switch: Lab) -> None:
    orphan = switch.run("web1", ["sh", "-c", "sleep 0.01 & echo $!"], check=True).stdout.strip()
    look = f"while [ -e /proc/{orphan} ]; do :; done"
    assert switch.run("web1", ["sh", "-c", look], timeout=10).returncode == 0


def test_cluster_file_is_what_was_asked_for() -> None:
    with Lab.up(name("seed"), 2, seed=7, buckets=64) as lab:
        assert (lab.cluster.seed, lab.cluster.buckets) == (7, 64)
        assert [host.name for host in lab.cluster.hosts] == ["web1", "web2"]
        assert lab.cluster.vips == (plan.VIP, plan.VIP6)


ROOTLESS = f"""
from vipnft.lab.lab import Lab
from vipnft.lab.capture import Wire
import os
with Lab.up({name("user")!r}, 2) as lab:
    assert lab.run("web1", ["id", "-u"]).stdout == "0\\n"
    assert lab.run("web1", ["hostname"]).stdout == "web1\\n"
    assert lab.run("web1", ["sh", "-c", "exit 3"]).returncode == 3
    lab.run("web1", ["nft", "add", "table", "netdev", "t"], check=True)
    assert "table netdev t" in lab.run("web1", ["nft", "list", "ruleset"], check=True).stdout
    asleep = lab.popen("web2", ["sleep", "99"])
    with Wire(lab, "router") as wire:
        lab.run("web2", ["bash", "-c", ": </dev/tcp/192.0.2.254/9"])
    assert len(wire.tally.refused) == 1
    assert Lab.find(lab.name).pid == lab.pid
assert not lab.runs and asleep.returncode is not None
print("done as", os.getuid())
"""


def test_an_ordinary_user_has_labs_too() -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try_it = [*nobody, "unshare", "-Urmnp", "--fork", "true"]
    if subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("this kernel keeps user namespaces from ordinary users")
    runtime = Path(tempfile.mkdtemp(prefix="vipnft-test-"))  # tmp_path is root's alone
    os.chown(runtime, 65534, 65534)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "PYTHONDONTWRITEBYTECODE": "1"}
    said = subprocess.run(
        [*nobody, sys.executable, "-c", ROOTLESS],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd="/",
    )
    assert said.stdout == "done as 65534\n", said.stderr
    (runtime / "vipnft-lab").rmdir()  # nothing is left in it
    runtime.rmdir()


def test_ask_all_reports_who_was_not_answered() -> None:
    """No lab at all: addresses that this machine does not have."""
    import asyncio

    said = asyncio.run(ask_all("127.0.0.1", 1, 3, 2, 1.0))
    assert said["answers"] == {}
    assert len(said["errors"]) == 3


@pytest.mark.parametrize("mode", list(Mode))
def test_demo(mode: Mode) -> None:
    result = demo.demo(mode, 4, 200, name=name("demo"))
    assert result.flawless, result
    assert result.answered == result.connections.syn_acks == 200
    assert (result.arp.requests, result.arp.replies) == (1, 1)
    assert result.arp.vip_macs == (result.listen_mac,)
    assert not traces(name("demo"))
