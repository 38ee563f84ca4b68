"""Every command answers --help, with a line to paste, and --version, wherever it is typed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fasttok import __version__

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = tuple(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_command_says_what_it_does_and_its_version(script: str, tmp_path: Path) -> None:
    for package in ("fasttok", "mixtures", "pipelines", "train"):
        (tmp_path / f"{package}.py").write_text(f"raise RuntimeError('this is another {package}.py')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}

    def said(flag: str) -> str:
        command = [str(Path(sys.executable).with_name(script)), flag]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert said("--version") == f"{script} {__version__}\n"
    assert re.search(rf"example: {script} \S", " ".join(said("--help").split()), re.IGNORECASE)
