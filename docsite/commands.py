"""The command line, made from the code: what every command prints for --help, run in a fresh interpreter each."""

import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fasttok.errors import InputError

VERBS: dict[str, tuple[str, ...]] = {
    "fasttok": ("", "fit", "eval", "encode", "decode", "inspect", "info"),
    "fasttok-pipelines": (
        "",
        "check",
        "index",
        "statistics",
        "datasets list",
        "datasets show",
        "datasets draft",
        "build",
        "inspect",
        "stats",
        "lint",
    ),
    "fasttok-mixtures": ("", "list", "show", "explain"),
    "fasttok-train": ("", "report"),
    "fasttok-evaluate": ("", "replay"),
    "fasttok-export": ("",),
    "fasttok-serve": ("",),
    "fasttok-study": ("run", "list", "figure"),
}
"""Console script -> verbs that have a help of their own; "" is the command itself."""
WIDTH = "100"


def scripts(root: Path) -> dict[str, str]:
    """Console script -> `module:function`, as pyproject.toml has them."""
    found: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    return found


def help_of(root: Path, script: str, verb: str) -> str:
    """What a command prints for --help.

    Raises:
        InputError: it ends with an error.
    """
    module, function = scripts(root)[script].split(":")
    code = (
        f"import sys; sys.argv = {[script, *verb.split(), '--help']!r}; from {module} import {function}; {function}()"
    )
    plain = {"COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | plain, check=False
    )
    if result.returncode != 0:
        raise InputError(f"`{script} {verb} --help` ended with {result.returncode}: {result.stderr.strip()[-400:]}")
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def page(root: Path) -> str:
    """The page with every command's help.

    Args:
        root: the repository.

    Returns:
        Markdown: a section per command, in VERBS' order.

    Raises:
        InputError: pyproject.toml has a script that VERBS does not know, or a help ends with an error.
    """
    if unknown := sorted(scripts(root).keys() ^ VERBS.keys()):
        raise InputError(f"docsite/commands.py and pyproject.toml differ in these scripts: {', '.join(unknown)}")
    asked = [(script, verb) for script, verbs in VERBS.items() for verb in verbs]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        helps = list(threads.map(lambda pair: help_of(root, *pair), asked))
    text = (
        "# Command line\n\nWhat each command prints for `--help`, made from the code when this site was built. "
        "[commands.md](../commands.md) lists the commands by what they are for.\n"
    )
    before = ""
    for (script, verb), said in zip(asked, helps, strict=True):
        text += f"\n## {script}\n" if script != before else ""
        before = script
        text += (f"\n### {script} {verb}\n" if verb else "") + f"\n```text\n{said}\n```\n"
    return text
