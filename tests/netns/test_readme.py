"""The README is true: its session is run, its outputs compared, its file read."""

import re
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from vipnft.buckets.phases import owners_of
from vipnft.config import reader

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FILE = next(body for language, body in BLOCKS if language == "toml")
CHANGING = re.compile(r"\d[\d,]* (packets|bytes)|\d+ min \d+ s")
MASKED = re.compile(r"@(\w+),(\d+),16 & 0xfff == 0x0")


def sessions(prompt: str) -> list[tuple[str, str]]:
    """Return (command, output) of every line behind a prompt in the README's sessions."""
    found: list[tuple[str, str]] = []
    for language, body in BLOCKS:
        for line in body.splitlines(keepends=True) if language == "console" else []:
            if line.startswith(f"{prompt} "):
                found.append((line[2:].strip(), ""))
            elif found and line[:2] not in {"$ ", "# "}:
                found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def alike(said: str) -> str:
    """Return it without what changes: counts, and how one nft or another lists the same match."""
    said = MASKED.sub(lambda found: f"@{found[1]},{int(found[2]) + 4},12 0x0", said)
    return CHANGING.sub("N", said)


def test_the_session_is_real(lab_up: LabUp) -> None:
    lab = lab_up(hosts=4)
    lab.config.write_text(FILE)
    session = sessions("#")
    assert len(session) > 5
    for command, shown in session:
        said = lab.run("web1", ["sh", "-c", command], check=True).stdout
        if shown:  # what prints nothing in the README prints what this machine is
            assert alike(said) == alike(shown), command


def test_the_two_commands_come_first() -> None:
    """The demo is run by .ci/run, and the tests by themselves."""
    assert [command for command, _ in sessions("$")] == ["sudo make demo", "sudo make test"]
    ci = (ROOT / ".ci/run").read_text()
    assert "make test" in ci
    assert "make demo" in ci


# Run by test_cluster, test_events, test_lab, test_network, and tests/contract/test_setup.py.
ELSEWHERE = {"agent", "drain", "events", "lab", "probe", "serve", "snapshot", "store-setup"}


def test_the_commands_table_is_true(lab_up: LabUp) -> None:
    """Every line of it, in its order: what is released is taken back."""
    lab = lab_up(hosts=2)
    table = re.findall(r"^\| `vipnft ([^`]*)` \|", README, re.MULTILINE)
    assert len(table) == 18
    mine = owners_of(lab.cluster).index("web1")
    for words in (w for w in table if w.split()[0] not in ELSEWHERE):
        command = words.replace("ADDRESS...", "192.0.2.1").replace("HOST", "web2")
        command = command.replace("RANGE", str(mine))
        said = lab.run("web1", ["vipnft", *command.split()])
        after_down = "down" in table[: table.index(words)]
        assert said.returncode == (3 if words == "status" and after_down else 0), said.stderr


def test_every_key_of_the_file_is_in_the_tables() -> None:
    keys = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert keys == {
        "name", "seed", "secret", "vips", "interface", "buckets", "listen_mac", "weight",
        "send_mac", "mode", "store", "password_file", "lease", "beat", "on_store_loss", "settle",
        "promise_port", "xdp", "balance", "balance_every", "balance_cpu",
        "interfaces", "send_macs", "protocol", "ports", "affinity", "prefix4", "prefix6", "quic",
    }  # fmt: skip
    assert reader.parse(FILE, "README").buckets == 256


@pytest.mark.parametrize("name", re.findall(r"\]\(([^):]+)\)", README))
def test_every_link_leads_somewhere(name: str) -> None:
    assert (ROOT / name.partition("#")[0]).exists()
