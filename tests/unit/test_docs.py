"""The documents for whoever changes the code name only what is there, and leave no package out.

A path is a word in code quotes that ends in / or in a file's suffix, or begins with something that
stands at the top of the repository. It may begin in `vipnft/`, too, as in a list of packages.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vipnft"
MAP = "docs/ARCHITECTURE.md"
DOCUMENTS = (MAP, "docs/design.md", "CONTRIBUTING.md")
TOP = {path.name for path in ROOT.iterdir()}

_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
_FILE = re.compile(r".+\.(?:py|md|toml|json|nft|service)")
_CITED = re.compile(r'design(?:\.md`?)?[:,] "([^"]+)"')


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def words(document: str) -> Iterator[str]:
    """Yield every word in code quotes, and every one of the blocks."""
    text = read(document)
    for code in [*_BLOCK.findall(text), *_CODE.findall(_BLOCK.sub("", text))]:
        yield from (word.strip(",;:()") for word in code.split())


def paths(document: str) -> set[str]:
    return {
        word
        for word in words(document)
        if _PATH.fullmatch(word)
        and (word.endswith("/") or _FILE.fullmatch(word) or ("/" in word and _top(word)))
    }


def _top(word: str) -> bool:
    return word.split("/", maxsplit=1)[0] in TOP


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_is_named_is_there(document: str) -> None:
    named = paths(document)
    assert len(named) > 5
    assert not {p for p in named if not (ROOT / p).exists() and not (PACKAGE / p).exists()}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    links = {link for link in _LINK.findall(read(document)) if "://" not in link}
    assert links
    assert not {link for link in links if not (ROOT / document).parent.joinpath(link).exists()}


def test_the_map_names_every_package() -> None:
    rooms = {
        path.name + "/" * path.is_dir()
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_")
    }
    assert not rooms - paths(MAP)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_that_is_named_can_be_made(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    code = " ".join(words(document))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def test_every_chapter_that_the_code_cites_is_written() -> None:
    code = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    cited = {title for text in code for title in _CITED.findall(text)}
    assert cited
    assert cited <= set(re.findall(r"^## (.+)$", read("docs/design.md"), re.MULTILINE))
