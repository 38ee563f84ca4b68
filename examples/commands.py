"""Runs public commands as subprocesses, for the demo, the studies' data and a benchmark."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from fasttok.errors import InputError

MODULES = {
    "fasttok": "fasttok.cli",
    "fasttok-pipelines": "pipelines",
    "fasttok-mixtures": "mixtures",
    "fasttok-train": "train",
    "fasttok-evaluate": "train.evaluate",
    "fasttok-export": "train.exports.command",
    "fasttok-serve": "train.serving.command",
    "fasttok-study": "train.study",
}


def call(command: str, folder: Path = Path()) -> None:
    """Runs a command as a shell would, but with this interpreter's packages.

    Args:
        command: a console script, or `python -m MODULE`, with its arguments.
        folder: folder in which it runs.

    Raises:
        InputError: the command failed; it has printed its own message.
    """
    if code := subprocess.run(words(command), cwd=folder, env=environment(), check=False).returncode:
        where = "" if folder == Path() else f" (in {folder})"
        raise InputError(f"failed with exit status {code}: {command}{where}")


def words(command: str) -> list[str]:
    """Returns the words to execute: the console script beside this interpreter, or its module if the script is not installed.

    `-P` makes sure that no file of the current folder, such as a `train.py`, runs instead.

    >>> words("python -m examples.report --demo demo")[1:]
    ['-P', '-m', 'examples.report', '--demo', 'demo']
    """
    name, *rest = shlex.split(command)
    if name == "python":
        return [sys.executable, "-P", *rest]
    script = Path(sys.executable).with_name(name)
    return [str(script), *rest] if script.is_file() else [sys.executable, "-P", "-m", MODULES[name], *rest]


def environment() -> dict[str, str]:
    """Returns environment variables with which commands find this checkout, and native code prints no warnings."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    ours = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    return {**ours, **os.environ, "PYTHONPATH": path}
