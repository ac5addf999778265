"""The command line as data, read from the program itself: verbs, their options and arguments."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from vipnft.cli.main import app


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its names, what it takes ("" for a flag), and what is said of it."""

    names: tuple[str, ...]
    takes: str
    text: str
    again: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument, as it is shown in a synopsis."""

    shown: str
    text: str


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, or a group of them. `words` are what is typed, vipnft included."""

    words: tuple[str, ...]
    text: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    verbs: tuple["Verb", ...]

    @property
    def summary(self) -> str:
        """What it does, in a sentence without its full stop."""
        return self.text.partition("\n\n")[0].replace("\n", " ").rstrip(".")

    def leaves(self) -> Iterator["Verb"]:
        """Yield each verb that does something by itself, in the order of --help."""
        if not self.verbs:
            yield self
        for verb in self.verbs:
            yield from verb.leaves()


HELP = Option(("-h", "--help"), "", "Show how it is used, and exit.")


def program() -> Verb:
    """Return the whole command line, its root first."""
    return _verb(("vipnft",), typer.main.get_command(app))


def _verb(words: tuple[str, ...], command: Any) -> Verb:
    parameters = command.params
    return Verb(
        words=words,
        text=inspect.cleandoc(command.help or ""),
        options=(*(_option(p) for p in parameters if p.param_type_name == "option"), HELP),
        arguments=tuple(_argument(p) for p in parameters if p.param_type_name == "argument"),
        verbs=tuple(
            _verb((*words, name), each) for name, each in getattr(command, "commands", {}).items()
        ),
    )


def _option(parameter: Any) -> Option:
    text = parameter.help or ""
    if not parameter.is_flag and parameter.default not in (None, ""):
        text += f" Default: {parameter.default}."
    if parameter.envvar:
        text += f" Else {parameter.envvar} of the environment."
    word = "FILE" if isinstance(parameter.default, Path) else parameter.name.upper()
    takes = "" if parameter.is_flag else parameter.metavar or word
    names = tuple(parameter.opts)
    return Option(names, takes, text.strip(), parameter.multiple, parameter.required)


def _argument(parameter: Any) -> Argument:
    shown = parameter.metavar or parameter.name.upper()
    if parameter.nargs != 1 and "..." not in shown:
        shown += "..."
    return Argument(shown if parameter.required else f"[{shown}]", parameter.help or "")
