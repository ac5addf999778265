"""Times and names on the command line."""

from pathlib import Path

import pytest

from tests.samples import small
from vipnft.cli.options import here, load, seconds, whole_seconds
from vipnft.config.writer import render
from vipnft.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("0.5m", 30),
        ("2000ms", 2),
        ("720h", 2592000),
    ],
)
def test_a_time(text: str, value: int) -> None:
    assert seconds(text) == whole_seconds(text) == value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "'' is not a time"),
        ("soon", "'soon' is not a time"),
        ("-1", "'-1' is not a time"),
        ("\u0665", "'\u0665' is not a time"),
        ("1.5", "'1.5' is not a time"),
        ("9" * 5000, f"'{'9' * 5000}' is not a time"),
        ("2592001", "'2592001' is more than 30 days"),
        ("721h", "'721h' is more than 30 days"),
    ],
)
def test_what_is_no_time(text: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(text)
    assert str(caught.value) == found
    assert caught.value.fix == "such as 90s, 5m or 1h; 0 for none"


def test_the_kernel_counts_a_drain_by_the_second() -> None:
    assert seconds("1500ms") == 1.5
    with pytest.raises(UsageError, match="'1500ms' is no whole number of seconds"):
        whole_seconds("1500ms")


@pytest.mark.parametrize("machine", ["web1", "web1.example.net"])
def test_a_machine_is_known_by_its_name_whole_or_short(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: machine)
    assert here(small(), "") == "web1"
    with pytest.raises(UsageError, match=r"'web1\.example\.org' is not in cluster"):
        here(small(), "web1.example.org")  # what was said is meant as it is


def test_a_file_with_a_byte_order_mark_is_as_one_without(tmp_path: Path) -> None:
    file, marked = tmp_path / "plain.toml", tmp_path / "marked.toml"
    file.write_text(render(small(hosts=2)), encoding="utf-8")
    marked.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert marked.read_bytes()[:3] == b"\xef\xbb\xbf"
    assert load(marked) == load(file)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(render(small(hosts=2)), encoding="utf-16")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: is not UTF-8 text (byte 0); save it as UTF-8"
