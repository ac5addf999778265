"""Completions for bash, zsh and fish, made from the command line itself.

Words only: nothing of vipnft's is run while somebody types.
"""

import re
import shlex
from collections.abc import Iterator

from commandline import Option, Verb, program


def bash() -> str:
    """Return the function that bash-completion loads for vipnft."""
    cases = "".join(
        f"    {shlex.quote(' '.join(verb.words))}) words={shlex.quote(_words(verb))} ;;\n"
        for verb in _all(program())
    )
    return f"""# Completion of vipnft's command line for bash.
_vipnft() {{
    local word words verb=vipnft
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$verb $word" in
        {" | ".join(shlex.quote(" ".join(verb.words)) for verb in _all(program()))})
            verb="$verb $word" ;;
        esac
    done
    case "$verb" in
{cases}    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _vipnft vipnft
"""


def zsh() -> str:
    """Return the file that zsh loads as the function _vipnft."""
    functions = "\n".join(_zsh_function(verb) for verb in _all(program()))
    head = "#compdef vipnft\n# Completion of vipnft's command line for zsh.\n"
    return f"{head}{functions}\n_vipnft\n"


def fish() -> str:
    """Return the file that fish loads for vipnft."""
    lines = ["# Completion of vipnft's command line for fish."]
    for verb in _all(program()):
        here = _fish_condition(verb)
        for each in verb.verbs:
            lines.append(f"complete -c vipnft -f -n {here} -a {each.words[-1]} -d {_said(each)}")
        for option in verb.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            more = " -r" if option.takes else ""
            lines.append(f"complete -c vipnft -n {here} {names}{more} -d {_said(option)}")
    return "\n".join(lines) + "\n"


def _all(verb: Verb) -> Iterator[Verb]:
    yield verb
    for each in verb.verbs:
        yield from _all(each)


def _words(verb: Verb) -> str:
    names = [name for option in verb.options for name in option.names]
    return " ".join([*(each.words[-1] for each in verb.verbs), *names])


def _said(what: Verb | Option) -> str:
    text = what.summary if isinstance(what, Verb) else what.text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_condition(verb: Verb) -> str:
    """Return a test whether this verb is what was typed so far, and no verb below it."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in verb.words[1:]]
    if verb.verbs:
        below = " ".join(each.words[-1] for each in verb.verbs)
        seen.append(f"not __fish_seen_subcommand_from {below}")
    elif len(verb.words) == 2:
        # "down" is a verb, and one of the lab's, too.
        groups = " ".join(each.words[-1] for each in program().verbs if each.verbs)
        seen.append(f"not __fish_seen_subcommand_from {groups}")
    return shlex.quote("; and ".join(seen))


def _zsh_function(verb: Verb) -> str:
    name = "_" + "_".join(verb.words)
    specs = [_zsh_option(option) for option in verb.options]
    if verb.verbs:
        told = " ".join(
            shlex.quote(f"{each.words[-1]}:{_zsh(each.summary)}") for each in verb.verbs
        )
        calls = "\n".join(
            f"        {each.words[-1]}) _{'_'.join(each.words)} ;;" for each in verb.verbs
        )
        specs += ["'1: :->verb'", "'*:: :->rest'"]
        tail = f"""    case $state in
    verb)
        local -a verbs=({told})
        _describe verb verbs ;;
    rest)
        case $line[1] in
{calls}
        esac ;;
    esac
"""
    else:
        specs += ["'*: :_files'"]
        tail = ""
    lines = " \\\n        ".join(specs)
    return f"""{name}() {{
    local state line
    _arguments -C \\
        {lines}
{tail}}}
"""


def _zsh_option(option: Option) -> str:
    takes = f":{option.takes}:_files" if option.takes else ""
    text = f"[{_zsh(option.text)}]{takes}"
    if len(option.names) == 1:
        star = "*" if option.again else ""
        return shlex.quote(f"{star}{option.names[0]}{text}")
    return "{" + ",".join(option.names) + "}" + shlex.quote(text)


def _zsh(text: str) -> str:
    return re.sub(r"([\[\]:])", r"\\\1", text)
