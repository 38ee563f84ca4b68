"""Lists the options of fasttok-train for --help and docs/options.md, from the dataclasses of `train.config`. Imports no JAX.

`python -m train.options` prints docs/options.md.
"""

import ast
import dataclasses
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from train import recipes
from train.config import TrainConfig
from train.presets import KI, PRESETS, SIZES

FIRST = (
    "shards", "out", "preset", "size", "steps", "batch-size", "weights", "init-from", "model.insulation", "optim.learning-rate",
    "optim.ema", "optim.freeze", "augment.on", "seed", "log-every", "checkpoint-every", "trackers", "resume", "overwrite",
    "dry-run",
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {
    "Losses": ("alpha", "loss-norm", "flow-draws", "rtc-delay", "insulation-schedule"),
    "Start from other weights": ("init-from-expert", "weights-strict", "weights-resample"),
    "Memory and machines": ("accumulate", "fsdp", "distributed"),
    "Log and checkpoints": ("probe-every", "keep", "resume-with"),
    "Held-out numbers": ("held-out", "held-out-every", "held-out-rows", "keep-best"),
}
"""Groups for the options of `TrainConfig` itself, without those in FIRST."""
CHOICES = {
    "preset": "|".join(PRESETS),
    "size": "|".join(SIZES),
    "model.recipe": "|".join(recipes.NAMES),
    "trackers": "tensorboard|wandb ...",
    "distributed": "auto|ADDRESS:PORT,PROCESSES,ID",
    "resume-with": "SETTING ...",
    "insulation-schedule": "STEP:SHARE ...",
}
"""Values that a flag takes, if its type does not say them."""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        flag: without the two dashes.
        values: values that it takes; "" for a switch.
        default: the default, as on a command line; "" if there is none.
        what: what it does.
        when: when to use it.
    """

    flag: str
    values: str
    default: str
    what: str
    when: str


@dataclass(frozen=True)
class OptionGroup:
    """Options that are shown together.

    Attributes:
        title: heading of the group.
        about: what the options are about, in a sentence; "" if the title says it.
        options: the options, in order.
    """

    title: str
    about: str
    options: tuple[Option, ...]


def options(config: TrainConfig) -> tuple[OptionGroup, ...]:
    """Returns every option once, by group; the first group contains the options that people need first.

    Args:
        config: gives the defaults.
    """
    nested = []
    for field in dataclasses.fields(config):
        inner = getattr(config, field.name)
        if dataclasses.is_dataclass(inner):
            about = (inspect.getdoc(type(inner)) or "").splitlines()[0]
            nested.append(OptionGroup(field.name, about, _of(inner, f"{field.name}.")))
    every = {option.flag: option for option in [*_of(config), *(o for group in nested for o in group.options)]}
    named = {"Options that you need first": FIRST, **GROUPS}
    return (
        *(OptionGroup(title, "", tuple(every[flag] for flag in flags)) for title, flags in named.items()),
        *(replace(group, options=tuple(o for o in group.options if o.flag not in FIRST)) for group in nested),
    )


def _of(config: Any, prefix: str = "") -> tuple[Option, ...]:
    """Returns the options of one dataclass, without those of the dataclasses in its fields."""
    said, hints = dict(_docstrings(type(config))), get_type_hints(type(config))
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            what, _, when = said[field.name].partition(" Use it ")
            default = "" if field.default is dataclasses.MISSING else _typed(value)
            flag = f"{prefix}{field.name}".replace("_", "-")
            values = CHOICES.get(flag) or _values(hints[field.name])
            found.append(Option(flag, values, default, what, f"Use it {when}"))
    return tuple(found)


def _docstrings(owner: type) -> Iterator[tuple[str, str]]:
    """Yields the name of each field and the docstring below it, as one line."""
    body = ast.parse(inspect.getsource(owner)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            yield field.target.id, " ".join(ast.literal_eval(below.value).split())


def _values(hint: Any) -> str:
    """Returns the values that a flag takes, as help shows them.

    >>> _values(bool), _values(float | None), _values(tuple[str, ...]), _values(Literal["a", "b"])
    ('', 'NUMBER', 'WORD ...', 'a|b')
    """
    words = {bool: "", int: "N", float: "NUMBER", Path: "PATH", str: "WORD"}
    if get_origin(hint) in (Union, types.UnionType):
        return _values(next(part for part in get_args(hint) if part is not type(None)))
    if get_origin(hint) is tuple:
        return f"{_values(get_args(hint)[0])} ..."
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return words[hint]


def _typed(value: Any) -> str:
    """Returns a default as it is written on a command line.

    >>> _typed((0.0,)), _typed(None), _typed(False), _typed(1e-3), _typed(("a", "b"))
    ('0', '', '', '0.001', 'a b')
    """
    if value is None or value is False:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_help(console: Console, about: list[str], config: TrainConfig) -> None:
    """Prints --help: first what the command does, then its options by group.

    Args:
        console: to print on.
        about: paragraphs.
        config: gives the defaults.
    """
    console.print(*(Text(f"{paragraph}\n") for paragraph in about), sep="\n")
    for group in options(config):
        console.print(Text(": ".join(filter(None, [group.title, group.about])), style="bold"))
        rows: list[Text | Padding] = []
        for option in group.options:
            default = f" (default: {option.default})" if option.default else ""
            flag = Text(f"--{option.flag} {option.values}".rstrip(), style="cyan")
            rows += [flag, Padding(Text(f"{option.what}{default} {option.when}"), (0, 0, 0, 6))]
        console.print(Padding(Group(*rows), (0, 0, 1, 2)))


def page() -> str:
    """Returns the text of docs/options.md."""
    lines = [
        "# Options of fasttok-train",
        "",
        "This page lists each option once, and `fasttok-train --help` prints the same. The names are those of the dataclasses in",
        "[`train/config.py`](../train/config.py) and of RUN/config.json. A preset and a size change some of the defaults: "
        "[train.md](train.md).",
    ]
    for group in options(KI):
        lines += ["", f"## {group.title}", *(["", group.about] if group.about else [])]
        lines += ["", "| option | default | what it does | use it |", "|---|---|---|---|"]
        for option in group.options:
            flag = f"--{option.flag} {option.values}".rstrip().replace("|", "\\|")
            default = f"`{option.default}`" if option.default else ""
            when = option.when.removeprefix("Use it ").rstrip(".")
            lines.append(f"| `{flag}` | {default} | {option.what} | {when} |".replace("*", "\\*"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
