"""Manual pages of the verbs, as scdoc source, made from the command line itself."""

import re

from commandline import Option, Verb, program

VERB_LIST = "@VERBS@"
"""Stands in man/vipnft.8.scd where all verbs are listed."""


def page(verb: Verb, version: str) -> str:
    """Return the page of one verb."""
    name = "-".join(verb.words)
    paragraphs = [_plain(part.replace("\n", " ")) for part in verb.text.split("\n\n")]
    blocks = [
        f'{name}(8) "vipnft {version}"',
        f"# NAME\n\n{name} - {_plain(_lower(verb.summary))}",
        f"# SYNOPSIS\n\n{_synopsis(verb)}",
        "# DESCRIPTION",
        *paragraphs,
    ]
    if verb.arguments:
        told = [f"_{_plain(each.shown)}_\n\t{_plain(each.text)}" for each in verb.arguments]
        blocks += ["# ARGUMENTS", *told]
    blocks += ["# OPTIONS", *(_option(option) for option in verb.options)]
    blocks += ["# SEE ALSO", "*vipnft*(8), *vipnft.toml*(5)"]
    return "\n\n".join(blocks) + "\n"


def pages(version: str) -> dict[str, str]:
    """Return the page of each verb, by its name without a section."""
    return {"-".join(verb.words): page(verb, version) for verb in program().leaves()}


def overview(source: str) -> str:
    """Put the list of verbs into vipnft(8)."""
    told = [f"*{'-'.join(v.words)}*(8)\n\t{_plain(v.summary)}." for v in program().leaves()]
    return source.replace(VERB_LIST, "\n\n".join(told))


def _synopsis(verb: Verb) -> str:
    words = [f"*{' '.join(verb.words)}*"]
    for option in verb.options:
        shown = f"*{option.names[-1]}*" + (f" _{_plain(option.takes)}_" if option.takes else "")
        words.append(shown if option.required else f"[{shown}]" + ("..." if option.again else ""))
    words += [f"_{_plain(each.shown)}_" for each in verb.arguments]
    return " ".join(words)


def _option(option: Option) -> str:
    names = ", ".join(f"*{name}*" for name in option.names)
    takes = f" _{_plain(option.takes)}_" if option.takes else ""
    again = " May be given several times." if option.again else ""
    return f"{names}{takes}\n\t{_plain(option.text + again)}"


def _plain(text: str) -> str:
    """Return text as scdoc wants it: signs that mean themselves, and `commands` in bold."""
    escaped = re.sub(r"([\\_*\[\]#<>])", r"\\\1", text)
    return re.sub(r"`([^`]*)`", r"*\1*", escaped)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
