"""/usr/share/doc/vipnft/copyright: whose all that is, vendored packages included."""

import json
import re
from email.parser import HeaderParser
from pathlib import Path

_HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: vipnft
Comment: /usr/lib/vipnft holds, beside vipnft itself, the Python packages that it uses, as their
 authors published them; parts that vipnft has no use for are left out.

Files: *
Copyright: the vipnft maintainers
License: GPL-2+
 This program is free software; you can redistribute it and/or modify it under the terms of the
 GNU General Public License as published by the Free Software Foundation; either version 2 of the
 License, or (at your option) any later version.
 .
 On Debian systems the full text is in /usr/share/common-licenses/GPL-2, elsewhere in
 /usr/share/licenses/vipnft/LICENSE.
"""


def copyright_file(tree: Path) -> str:
    """Return the text for all that was installed into a directory."""
    return "\n".join([_HEAD, *(_stanza(tree, each) for each in sorted(tree.glob("*.dist-info")))])


def _stanza(tree: Path, info: Path) -> str:
    about = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    name, version = about["Name"], about["Version"]
    tops = sorted(
        {line.split(",")[0].split("/")[0] for line in (info / "RECORD").read_text().splitlines()}
        - {info.name, "..", "bin"}
    )
    files = [f"usr/lib/vipnft/{top}{'/*' if (tree / top).is_dir() else ''}" for top in tops]
    texts = [
        path.read_text(encoding="utf-8")
        for top in (info, *(tree / top for top in tops))
        for path in sorted(top.rglob("LICEN[CS]E*"))
        # Of two licences to choose from it is the one that is ours.
        if name != "pyroute2"
    ]
    licence = about["License-Expression"] or about["License"] or "see below"
    holders = dict.fromkeys(
        line.strip() for text in texts for line in re.findall(r"(?mi)^ *copyright .*\d{4}.*", text)
    )
    if name == "pyroute2":
        licence, holders = "GPL-2+", {"Peter Saveliev and the contributors": None}
    elif not texts or not holders:
        raise SystemExit(f"{name} {version} does not say whose it is, and who may use it")
    short = licence if name == "pyroute2" else f"{licence.split()[0]}-{name}"
    lines = [
        f"Files: {' '.join(files)}",
        "Copyright: " + "\n ".join(holders),
        f"License: {short}",
        *(_indented(text) for text in texts),
        f"Comment: {name} {version}, {licence}.{_compiled(info)}",
    ]
    return "\n".join(lines) + "\n"


def _compiled(info: Path) -> str:
    """Tell what a compiled module holds of others, by the list that came with it."""
    parts = [
        f" {part['name']} {part['version']}: {part['licenses'][0].get('expression', '')}"
        for path in info.rglob("*.cyclonedx.json")
        for part in json.loads(path.read_text(encoding="utf-8"))["components"]
    ]
    return "\n".join([" Its compiled modules were made of these, too:", *parts]) if parts else ""


def _indented(text: str) -> str:
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.splitlines())
