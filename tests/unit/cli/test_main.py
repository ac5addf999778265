"""The command line without root: bad input, dry runs, which, help."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vipnft.cli.main import main

GOOD = """\
[cluster]
name = "dns"
seed = 0x6d2f1c3b
vips = ["192.0.2.100"]
interface = "eth0"
[[host]]
name = "web1"
[[host]]
name = "web2"
"""
EXAMPLES = Path(__file__).parents[3] / "examples"


class Result(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def vipnft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["vipnft", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Result(code if isinstance(code, int) else int(bool(code)), *capsys.readouterr())

    return run


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD)
    return str(file)


CLUSTER, HOSTS = GOOD.split("[[host]]", 1)
HOSTS = "[[host]]" + HOSTS

BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "broken TOML": ("[cluster", "cluster.toml: is broken TOML"),
    "empty": ("", "cluster"),
    "unknown key": (GOOD.replace("seed =", "sede ="), "did you mean seed"),
    "duplicate host": (GOOD.replace("web2", "web1"), "web1"),
    "VIP malformed": (GOOD.replace("192.0.2.100", "192.0.2"), "cluster.vips[0]"),
    "VIP multicast": (GOOD.replace("192.0.2.100", "224.0.0.5"), "multicast"),
    "VIP loopback": (GOOD.replace("192.0.2.100", "127.0.0.9"), "loopback"),
    "VIP twice": (GOOD.replace('"192.0.2.100"', '"192.0.2.9", "192.0.2.9"'), "192.0.2.9"),
    "no VIP": (GOOD.replace('"192.0.2.100"', ""), "cluster.vips"),
    "no host": (CLUSTER, "host"),
    "weight negative": (GOOD + "weight = -1\n", 'host[1] ("web2").weight'),
    "weight fractional": (GOOD + "weight = 1.5\n", "1.5"),
    "weights all zero": (GOOD.replace('web1"', 'web1"\nweight = 0') + "weight = 0\n", "weight"),
    "no buckets": (CLUSTER + "buckets = 0\n" + HOSTS, "cluster.buckets"),
    "fewer buckets than hosts": (CLUSTER + "buckets = 1\n" + HOSTS, "cluster.buckets"),
    "a million buckets": (CLUSTER + "buckets = 1000000\n" + HOSTS, "cluster.buckets"),
    "listen MAC multicast": (
        CLUSTER + 'listen_mac = "03:bf:00:00:00:01"\n' + HOSTS,
        "cluster.listen_mac",
    ),
    "listen MAC broadcast": (
        CLUSTER + 'listen_mac = "ff:ff:ff:ff:ff:ff"\n' + HOSTS,
        "cluster.listen_mac",
    ),
    "listen MAC zero": (
        CLUSTER + 'listen_mac = "00:00:00:00:00:00"\n' + HOSTS,
        "cluster.listen_mac",
    ),
    "listen MAC is a send MAC": (GOOD + 'send_mac = "02:bf:c0:00:02:64"\n', "send_mac"),
    "interface is the loopback": (GOOD.replace("eth0", "lo"), "cluster.interface"),
    "not UTF-8": (b"\xff\xfe", "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize(
    "verb", ["apply --switch --dry-run --host web1", "check --host web1", "which 192.0.2.7"]
)
def test_a_bad_file_is_named_and_ends_with_2(
    vipnft: Cli, tmp_path: Path, case: str, verb: str
) -> None:
    text, named = BAD_FILES[case]
    file = tmp_path / "cluster.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = vipnft(*verb.split(), "--config", str(file))
    assert result.code == 2
    assert result.out == ""
    assert str(file) in result.err
    assert named in result.err


def test_a_byte_order_mark_is_no_fault(vipnft: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert vipnft("which", "192.0.2.7", "--config", str(file)).code == 0


def test_all_faults_come_at_once(vipnft: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("seed =", "sede =").replace("192.0.2.100", "no") + "weight = -1\n")
    lines = vipnft("apply", "--hub", "--config", str(file)).err.splitlines()
    assert len(lines) == 4  # sede unknown, seed missing, the VIP, the weight
    assert all(str(file) in line and "; " in line for line in lines)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["apply", "--switch", "--config", "/nonexistent/c.toml"], 2, "/nonexistent/c.toml"),
        (["apply", "--switch", "--config", "/"], 2, "can't be read"),
        (["apply", "--hub", "--switch"], 2, "--hub and --switch were given"),
        (["apply"], 2, "no mode is given: --switch, --hub, --multicast or --igmp"),
        (["apply", "--switch", "--host", "web9"], 2, "web1, web2"),
        (["apply", "--switch", "--host", "web1", "--dry-run", "--format", "xml"], 2, "nft or json"),
        (["apply", "--switch", "--host", "web1", "--format", "json"], 2, "--dry-run"),
        (["apply", "--switch", "--config", "/dev/zero"], 2, "no regular file"),
        (["apply", "--swich"], 2, "--swich"),
        (["which", "not-an-address"], 2, "not-an-address"),
        (["which", "2001:db8::1%eth0"], 2, "neither an IP address nor one with a port"),
        (["which", "192.0.2.7:99999"], 2, "neither an IP address nor one with a port"),
        (["apply", "--multicast", "--igmp"], 2, "--multicast and --igmp were given"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_a_bad_command_is_named(
    vipnft: Cli, good: str, words: list[str], code: int, named: str
) -> None:
    config = [] if "--config" in words or words[0] == "frobnicate" else ["--config", good]
    result = vipnft(*words, *config)
    assert (result.code, result.out) == (code, "")
    assert named in result.err


def test_the_file_says_the_mode_and_the_command_line_may_not_differ(
    vipnft: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("[cluster]\n", '[cluster]\nmode = "switch"\n', 1))
    command = ["apply", "--dry-run", "--host", "web1", "--config", str(file)]
    said, silent = vipnft(*command, "--switch"), vipnft(*command)
    assert said.code == silent.code == 0
    assert said.out == silent.out
    other = vipnft(*command, "--hub")
    assert other.code == 2
    assert '--hub was given, and the cluster file says mode = "switch"' in other.err


def test_a_dry_run_prints_what_the_kernel_lists(vipnft: Cli, good: str) -> None:
    command = ["apply", "--switch", "--dry-run", "--host", "web1", "--config", good]
    out = vipnft(*command).out
    assert out.startswith("table netdev vipnft {")
    assert "jhash ip saddr mod 256 seed 0x6d2f1c3b meta mark vmap @buckets" in out
    assert out.count("jump take") == out.count(": drop") == 128


def test_which_knows_what_is_dealt_otherwise(vipnft: Cli, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    more = '[[service]]\nprotocol = "udp"\nports = [443]\naffinity = "flow"\nquic = true\n'
    file.write_text(GOOD + more)
    words = ["which", "--config", str(file)]
    (plain, flow) = vipnft(*words, "192.0.2.7").out.splitlines()
    assert plain.startswith("192.0.2.7 ")
    assert flow == "192.0.2.7 by-port - udp/443"
    seen = {vipnft(*words, f"[2001:db8::1]:{port}").out for port in range(40000, 40020)}
    assert len(seen) == 20
    assert len({out.splitlines()[0].split()[1] for out in seen}) == 1, "its other packets"
    assert len({out.splitlines()[1].split()[1] for out in seen}) > 10


def test_a_dry_run_prints_the_json_that_would_be_sent(vipnft: Cli, good: str) -> None:
    command = ["apply", "--hub", "--dry-run", "--host", "web2", "--config", good]
    commands = json.loads(vipnft(*command, "--format", "json").out)["nftables"]
    assert {next(iter(command)) for command in commands} == {"add", "delete"}


def test_which_reads_standard_input_too(
    vipnft: Cli, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = vipnft("which", "--config", good, "192.0.2.7", "198.51.100.1").out
    monkeypatch.setattr(sys, "stdin", io.StringIO("192.0.2.7\n\n 198.51.100.1 \n"))
    assert vipnft("which", "--config", good).out == said
    address, bucket, host = said.splitlines()[0].split()
    assert (address, host in {"web1", "web2"}) == ("192.0.2.7", True)
    assert 0 <= int(bucket) < 256


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda p: p.stem)
def test_the_examples_are_good(vipnft: Cli, example: Path) -> None:
    assert vipnft("which", "--config", str(example), "192.0.2.1").code == 0


@pytest.mark.parametrize(
    "verb", [[], ["apply"], ["down"], ["which"], ["status"], ["check"], ["lab"]]
)
def test_every_verb_has_help(vipnft: Cli, verb: list[str]) -> None:
    result = vipnft(*verb, "--help")
    assert result.code == 0
    assert "Usage" in result.out


def test_a_reader_that_leaves_early_is_no_crash() -> None:
    """As `vipnft apply --dry-run | head -1`."""
    command = f"{Path(sys.prefix) / 'bin/vipnft'} apply --switch --dry-run --host ns1"
    piped = f"{command} --config {EXAMPLES / 'name-servers.toml'} | head -1"
    ended = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, check=True)
    assert ended.stdout == "table netdev vipnft {\n"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("alive", ["web2", "web2.example"])
def test_nobody_is_alive_and_dead(vipnft: Cli, good: str, alive: str) -> None:
    words = ["apply", "--hub", "--config", good, "--host", "web1", "--alive", "web1"]
    code, out, err = vipnft(*words, "--alive", alive, "--takeover", "web2")
    assert (code, out) == (2, "")
    assert "web2 can't be alive and dead\n  fix: " in err
