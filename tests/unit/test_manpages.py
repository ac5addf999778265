"""The manual: every verb, every option and every key is in it, and completions know them too."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import completions
import pages
import pytest
from commandline import Verb, program

from vipnft.config.schema import SHAPES, FileShape

MAN = Path(__file__).parents[2] / "packaging/man"
PAGES = pages.pages("0")
VERBS = {"-".join(verb.words): verb for verb in program().leaves()}


def shown(text: str) -> str:
    """Return what scdoc source shows, all in one kind of type."""
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[*_]", "", text))


def names(verb: Verb) -> set[str]:
    return {name for option in verb.options for name in option.names}


def test_the_verbs_are_those_of_the_program() -> None:
    run = [sys.executable, "-m", "vipnft.cli", "--help"]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    for verb in VERBS.values():
        assert re.search(rf"(?m)^\W*{verb.words[1]} ", told), verb.words


@pytest.mark.parametrize("name", VERBS)
def test_a_page_has_every_option_and_argument(name: str) -> None:
    told = re.findall(r"(?m)^(\*-.*)\n\t(.+)$", PAGES[name])
    assert {word for line, _ in told for word in re.findall(r"\*(-[\w-]+)\*", line)} == names(
        VERBS[name]
    )
    for argument in VERBS[name].arguments:
        assert argument.shown in shown(PAGES[name])


def test_every_verb_and_option_is_explained() -> None:
    for verb in VERBS.values():
        assert verb.text, verb.words
        assert all(option.text for option in verb.options), verb.words
        assert all(argument.text for argument in verb.arguments), verb.words


def test_the_overview_lists_every_verb() -> None:
    text = pages.overview((MAN / "vipnft.8.scd").read_text())
    assert set(re.findall(r"(?m)^\*([\w-]+)\*\(8\)$", text)) == set(VERBS)


def test_every_key_is_in_the_page_of_the_file() -> None:
    text = (MAN / "vipnft.toml.5.scd").read_text()
    parts = re.split(r"(?m)^# \[+(\w+)\]+$", text)[1:]
    chapters = dict(zip(parts[::2], parts[1::2], strict=True))
    assert set(SHAPES) == set(FileShape.model_fields) <= set(chapters)
    for table, shape in SHAPES.items():
        told = re.findall(r"(?m)^\*(\w+)\* =", chapters[table])
        assert len(told) == len(set(told))
        assert set(shape.model_fields) <= set(told), table


@pytest.mark.parametrize("shell", [completions.bash, completions.zsh, completions.fish])
def test_completions_know_every_verb_and_option(shell: Callable[[], str]) -> None:
    text = shell()
    for verb in VERBS.values():
        assert verb.words[-1] in text
        for name in names(verb):
            assert name in text or f" -l {name[2:]} " in text or f" -s {name[1:]} " in text
