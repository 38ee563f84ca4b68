"""Prints scripts for shell completion, which complete verbs, flags, choices and paths.

`fasttok-pipelines --print-completion bash` prints the script for bash. It is made from the dataclasses of the command line, and
starts no Python when the user presses Tab. If neither a flag nor a name is expected, the shell completes file names.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from fasttok.errors import InputError, unknown_name

FLAG = "--print-completion"
SHELLS = ("bash", "zsh", "fish")
EVERYWHERE = ("--help",)
MARKER = get_args(Positional[int])[1]  # what Positional adds to an annotation


@dataclass(frozen=True)
class CompletedVerb:
    """What may follow one verb of a command.

    Attributes:
        config: dataclass whose fields are the flags of the verb.
        names: words that its arguments may be, besides paths.
        choices: flag without dashes -> its values, for flags whose type does not list them.
    """

    config: type[Any]
    names: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Flag:
    """One flag: its name with dashes, whether a value follows it, and the values to choose from (() for any)."""

    name: str
    takes_value: bool
    values: tuple[str, ...]


def is_asked(argv: list[str]) -> bool:
    """Returns whether a command line asks for the script."""
    return argv[:1] == [FLAG]


def print_completion(command: str, verbs: Mapping[str, CompletedVerb], argv: list[str]) -> None:
    """Prints the script for the shell that the command line names.

    Args:
        command: name of the console script.
        verbs: verb, such as "fit" or "datasets list", -> what may follow it; "" is the verb of a command without verbs.
        argv: FLAG and the name of a shell.

    Raises:
        InputError: no shell is named, or one without a script.
    """
    if len(argv) != 2:
        raise InputError(f"{FLAG} takes one shell, one of {', '.join(SHELLS)}; example: {command} {FLAG} bash")
    if argv[1] not in SHELLS:
        raise unknown_name("shell", argv[1], SHELLS)
    print(fish(command, verbs) if argv[1] == "fish" else bash(command, verbs, zsh=argv[1] == "zsh"), end="")


def bash(command: str, verbs: Mapping[str, CompletedVerb], *, zsh: bool = False) -> str:
    """Returns the script for bash, or for zsh, which runs it with its `bashcompinit`.

    Args:
        command: name of the console script.
        verbs: see `print_completion`.
        zsh: whether to load `bashcompinit` first.
    """
    function = "_" + command.replace("-", "_")
    paths = [f"/{'/'.join(parts)}" for parts in _levels(verbs) if parts]
    places: dict[tuple[str, ...], list[str]] = {}  # values -> the flags, with their verbs, that take them
    words = []
    for parts in _levels(verbs):
        at = f"/{'/'.join(parts)}" if parts else ""
        verb = verbs.get(" ".join(parts))
        flags = list(_flags(verb)) if verb else []
        for flag in flags:
            if flag.takes_value:
                places.setdefault(flag.values, []).append(f"{at}:{flag.name}")
        dashed = [*(flag.name for flag in flags), *EVERYWHERE, *(("--version",) if not parts else ())]
        named = [*_below(parts, verbs), *(verb.names if verb else ())]
        words += [f"{at}:-) words='{' '.join(dashed)}' ;;", f"{at}:*) words='{' '.join(named)}' ;;"]
    lines = [
        f"# Completion of {command} for {'zsh' if zsh else 'bash'}, written by: {command} {FLAG} {'zsh' if zsh else 'bash'}",
        *(["autoload -U +X bashcompinit && bashcompinit"] if zsh else []),
        f"{function}() {{",
        "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= words= i",
        "  [[ $cur == '=' ]] && cur=",
        "  [[ $prev == '=' ]] && prev=${COMP_WORDS[COMP_CWORD-2]}",
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        '    case "$at/${COMP_WORDS[i]}" in',
        f'      {"|".join(paths) or "/"}) at="$at/${{COMP_WORDS[i]}}" ;;',
        "    esac",
        "  done",
        '  case "$at:$prev" in',
        *(f"    {'|'.join(flags)}) words='{' '.join(values)}' ;;" for values, flags in places.items()),
        '    *) case "$at:${cur:0:1}" in',
        *(f"      {line}" for line in words),
        "    esac ;;",
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "}",
        f"complete -o default -F {function} {command}",
    ]
    return "\n".join(lines) + "\n"


def fish(command: str, verbs: Mapping[str, CompletedVerb]) -> str:
    """Returns the script for fish.

    Args:
        command: name of the console script.
        verbs: see `print_completion`.
    """
    lines = [f"# Completion of {command} for fish, written by: {command} {FLAG} fish"]
    for parts in _levels(verbs):
        below = _below(parts, verbs)
        seen = [f"__fish_seen_subcommand_from {part}" for part in parts]
        seen += [f"not __fish_seen_subcommand_from {' '.join(below)}"] if below else []
        when = f" -n '{'; and '.join(seen)}'" if seen else ""
        verb = verbs.get(" ".join(parts))
        names = [*below, *(verb.names if verb else ())]
        if names:
            lines.append(f"complete -c {command}{when}{' -f' if verb is None else ''} -a '{' '.join(names)}'")
        for flag in _flags(verb) if verb else ():
            value = f" -x -a '{' '.join(flag.values)}'" if flag.values else " -r" if flag.takes_value else ""
            lines.append(f"complete -c {command}{when} -l {flag.name.removeprefix('--')}{value}")
    lines += [f"complete -c {command} -l help", f"complete -c {command} -l version"]
    return "\n".join(lines) + "\n"


def _levels(verbs: Mapping[str, CompletedVerb]) -> list[tuple[str, ...]]:
    """Returns every beginning of a verb as its words: (), ("datasets",), ("datasets", "list") ..."""
    found = {(): None} | {
        tuple(verb.split()[:depth]): None for verb in verbs for depth in range(1, len(verb.split()) + 1)
    }
    return list(found)


def _below(parts: tuple[str, ...], verbs: Mapping[str, CompletedVerb]) -> list[str]:
    """Returns the words of verbs that may follow these words."""
    longer = (verb.split() for verb in verbs)
    return list(dict.fromkeys(w[len(parts)] for w in longer if len(w) > len(parts) and tuple(w[: len(parts)]) == parts))


def _flags(verb: CompletedVerb) -> Iterator[_Flag]:
    for name, hint in _fields(verb.config):
        given = verb.choices.get(name)
        if hint is bool:
            first, _, last = name.rpartition(".")
            yield _Flag(f"--{name}", False, ())
            yield _Flag(f"--{first + '.' if first else ''}no-{last}", False, ())
        else:
            yield _Flag(f"--{name}", True, given if given is not None else _choices(hint))


def _fields(config: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the names of flags without dashes, and their types. Flags of an inner dataclass begin with its name and a dot."""
    hints = get_type_hints(config, include_extras=True)
    for one in dataclasses.fields(config):
        hint, marks = hints[one.name], ()
        while get_origin(hint) is Annotated:
            marks, hint = (*marks, *get_args(hint)[1:]), get_args(hint)[0]
        name = prefix + one.name.replace("_", "-")
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _fields(hint, f"{name}.")
        elif MARKER not in marks:
            yield name, hint


def _choices(hint: Any) -> tuple[str, ...]:
    """Returns the values that a type allows, if it lists them.

    >>> _choices(Literal["flow", "tokens"]), _choices(tuple[Literal["a"], ...]), _choices(int | Literal["best"]), _choices(int)
    (('flow', 'tokens'), ('a',), ('best',), ())
    """
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType, tuple, Annotated):
        return tuple(value for part in get_args(hint) for value in _choices(part))
    return ()
