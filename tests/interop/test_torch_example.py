"""examples/03_read_from_pytorch.py with a released PyTorch: shards of example 02, read in batches and continued."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.commands import environment
from tests.interop.environments import PackageSet
from tests.pages.blocks import ROOT

pytestmark = pytest.mark.slow


def test_shards_are_read_from_pytorch(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    python = built("torch").interpreter
    assert python is not None
    ours = environment()
    ours["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    subprocess.run([sys.executable, ROOT / "examples" / "02_lerobot_to_shards.py"], cwd=tmp_path, env=ours, check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        [python, ROOT / "examples" / "03_read_from_pytorch.py"], cwd=tmp_path, env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("batch ") == 3
    assert "samples read before: 192" in done.stdout
    record_property(
        "checked", "examples/03_read_from_pytorch.py: three batches of 64 rows, and the continuation after them"
    )
