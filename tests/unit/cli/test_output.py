"""What is printed is lines of text, whatever names, servers and kernels say."""

import sys
from pathlib import Path

import pytest

from tests.samples import small
from vipnft.cli import main, options, output
from vipnft.errors import UsageError
from vipnft.model import Agents, Cluster

NASTY = "x\x1b]0;title\x07\nvipnft: all is well"


def failing() -> None:
    raise UsageError(NASTY, fix=f"{NASTY}!")


def test_an_error_is_one_line_and_so_is_its_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "app", lambda **_: failing())
    with pytest.raises(SystemExit):
        main.main()
    said = capsys.readouterr().err
    assert said.replace("\n", "").isprintable()
    assert "\x1b" not in said
    assert not any(line.startswith("vipnft: all") for line in said.splitlines())


def test_what_is_said_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(NASTY, "b", error=True)
    assert capsys.readouterr().err == "x\\x1b]0;title\\x07\\nvipnft: all is well\nb\n"


CLUSTER = Cluster(
    name="dns", seed=1, segments=small().segments, hosts=small().hosts, agents=Agents(store="a://b")
)


@pytest.mark.parametrize(
    ("words", "url", "warned"),
    [
        (["--store", "etcd://u:p@h"], "etcd://u:p@h", True),
        (["--store=etcd://u:p@h"], "etcd://u:p@h", True),
        (["--store", "etcd://h"], "etcd://h", False),
        ([], "etcd://u:p@h", False),
        ([], "", False),
    ],
)
def test_a_password_on_the_command_line_is_warned_of(
    words: list[str],
    url: str,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["vipnft", "agent", *words])
    assert options.pick_store(url, CLUSTER) == (url or CLUSTER.agents.store)
    said = capsys.readouterr().err
    assert ("WARNING" in said) == warned
    assert "u:p" not in said


@pytest.mark.parametrize("verb", [["agent"], ["drain", "web1"], ["status", "--cluster"]])
def test_the_store_is_taken_from_the_environment(
    verb: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(
        '[cluster]\nname = "dns"\nseed = 1\nvips = ["192.0.2.100"]\ninterface = "eth0"\n'
        'mode = "switch"\n[[host]]\nname = "web1"\n'
    )
    words = ["vipnft", *verb, "--config", str(file)]
    monkeypatch.setattr(sys, "argv", words + ["--host", "web1"] * (verb == ["agent"]))
    monkeypatch.setenv("VIPNFT_STORE", "consul://h")
    with pytest.raises(SystemExit):
        main.main()
    assert "no store of such a URL" in capsys.readouterr().err
