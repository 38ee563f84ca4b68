"""Public commands as subprocesses: what the demo, the studies' data and a benchmark are made of."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from fasttok.errors import InputError


def call(command: str, folder: Path) -> None:
    """Runs `python -m COMMAND` in a folder.

    Raises:
        InputError: it failed; its own message stands above.
    """
    words = [sys.executable, "-m", *shlex.split(command)]
    if code := subprocess.run(words, cwd=folder, env=environment(), check=False).returncode:
        raise InputError(f"failed with exit status {code}: python -m {command} (in {folder})")


def environment() -> dict[str, str]:
    """Of the commands: they find this checkout, native code is quiet, and glibc asks for huge pages, with which training on a
    CPU is a quarter faster."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    ours = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return {**ours, **os.environ, "PYTHONPATH": path}
