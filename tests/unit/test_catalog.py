"""The journal's catalog and the page about events know every kind, and no other."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vipnft.observe.events import KINDS

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "packaging/vipnft.catalog"
IDS = {kind.message_id: name for name, kind in KINDS.items()}


def fields(name: str) -> set[str]:
    return {field for begin in KINDS[name].begins for field in re.findall(r"\{(\w+)\}", begin)}


def test_the_catalog_has_every_kind_and_fills_in_what_its_events_have() -> None:
    parts = re.split(r"(?m)^-- (\w+)$", CATALOG.read_text(encoding="utf-8"))
    entries = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(entries) == list(IDS)
    for message_id, text in entries.items():
        assert re.match(r"\nSubject: .+\nDefined-By: vipnft\nDocumentation: \S+\n\n[\w@]", text)
        used = set(re.findall(r"@(\w+)@", text))
        known = {"host", "cluster", *fields(IDS[message_id])}
        assert used <= {f"VIPNFT_{name.upper()}" for name in known}, IDS[message_id]


@pytest.mark.skipif(not shutil.which("journalctl"), reason="no systemd here")
def test_systemd_reads_the_catalog(tmp_path: Path) -> None:
    for folder in ("usr/lib/systemd/catalog", "var/lib/systemd/catalog"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(CATALOG, tmp_path / "usr/lib/systemd/catalog")
    journal = ["journalctl", "--root", str(tmp_path)]
    done = subprocess.run([*journal, "--update-catalog"], capture_output=True, check=True)
    assert not done.stderr
    listed = subprocess.run(
        [*journal, "--list-catalog"], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"(?m)^(\w{32}) vipnft: ", listed)) == set(IDS)


def test_the_page_has_every_kind() -> None:
    page = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| (.*) \| \w.* \|$", page)
    told = {name: (severity, set(re.findall(r"`(\w+)`", named))) for name, severity, named in rows}
    assert told == {
        name: (kind.severity.name.lower(), fields(name)) for name, kind in KINDS.items()
    }
