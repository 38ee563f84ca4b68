"""Types a command up to the point where it would begin to work: its own parser reads the words, and nothing runs."""

import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import tyro

from tests.pages.blocks import ROOT

ENTRIES = {
    "fasttok": ("fasttok.cli.commands", "main"),
    "fasttok-pipelines": ("pipelines.commands", "main"),
    "fasttok-mixtures": ("mixtures.commands", "main"),
    "fasttok-train": ("train.command", "main"),
    "fasttok-evaluate": ("train.evaluate", "command"),
    "fasttok-export": ("train.exports.command", "main"),
    "fasttok-serve": ("train.serving.command", "command"),
    "fasttok-study": ("train.study.command", "command"),
}
MODULES = {
    "fasttok": "fasttok", "fasttok.cli": "fasttok", "pipelines": "fasttok-pipelines", "mixtures": "fasttok-mixtures",
    "train": "fasttok-train", "train.evaluate": "fasttok-evaluate", "train.exports.command": "fasttok-export",
    "train.study": "fasttok-study",
}  # fmt: skip
# `...` stands for the words of an earlier command; these are the ones that a command cannot do without.
LEFT_OUT = {"fasttok-train": ["--shards", "SHARDS", "--out", "RUN"], "fasttok-evaluate": ["--run", "RUN"]}


class UnderstoodError(BaseException):
    """The parser took all words: no `except Exception` of a command catches this."""


@contextmanager
def _only_parsing() -> Iterator[None]:
    parse = tyro.cli

    def cli(*args: Any, **more: Any) -> Any:
        config = parse(*args, **more)
        if more.get("return_unknown_args"):  # the command looks at the other words next
            unknown: list[str] = config[1]
            if any(not word.startswith("--") for word in unknown):
                raise ValueError(f"words that no parser takes: {unknown}")
        raise UnderstoodError

    with mock.patch.object(tyro, "cli", cli):
        yield


def understand(words: Sequence[str]) -> None:
    """Raises what the command's parser says against the words; nothing if it takes them.

    Args:
        words: of a command of ours. `...` and `$NAME` are taken as a reader takes them.

    Raises:
        AssertionError: it is no command, module, script or target.
        SystemExit: the parser refuses the words, with a status other than 0.
        ValueError: the command refuses them.
    """
    name, *rest = words
    name = Path(name).name
    if name == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in rest:
            assert "=" in target or f"\n{target}:" in targets, f"make {target}: the Makefile has no such target"
        return
    if name in ("python", "python3"):
        if rest[0] != "-m":
            assert (ROOT / rest[0]).is_file(), f"{rest[0]} is not in the checkout"
            return
        module, rest = rest[1], rest[2:]
        if module not in MODULES:
            _understand_module(module, rest)
            return
        name = MODULES[module]
    if "..." in rest:
        rest = [word for word in rest if word != "..."] + LEFT_OUT[name]
    rest = ["0/16" if word.startswith("$") else word for word in rest]
    module, function = ENTRIES[name]
    with _only_parsing():
        try:
            getattr(import_module(module), function)(rest)
        except UnderstoodError:
            return
        except SystemExit as end:
            if end.code in (0, None):
                return
            raise


def _understand_module(module: str, rest: list[str]) -> None:
    """A module that is run as a script. One that takes no words has no parser, and is only looked for."""
    path = ROOT.joinpath(*module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__main__.py"
    assert file.is_file(), f"python -m {module}: there is no such module"
    if "tyro.cli" not in file.read_text(encoding="utf-8"):
        return
    with _only_parsing(), mock.patch.object(sys, "argv", [module, *rest]), suppress(UnderstoodError):
        runpy.run_module(module, run_name="__main__")
