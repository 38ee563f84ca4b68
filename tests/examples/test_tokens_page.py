"""The demo's first page: made of the light install alone, so that it is there while the rest is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.tokens_page import TokensPageConfig, main, motion
from fasttok.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
# As in an environment into which only `pip install .` was typed; every process that starts runs this.
LIGHT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        absent = "tensorflow tensorflow_datasets apache_beam jax optax orbax PIL av h5py"
        if name.split(".")[0] in absent.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.slow
def test_the_page_needs_the_light_install_alone(tmp_path: Path) -> None:
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "sitecustomize.py").write_text(LIGHT)
    path = os.pathsep.join([str(tmp_path / "light"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "examples.tokens_page", "--out", str(tmp_path / "demo-tokens"), "--episodes", "12"]
    environment = os.environ | {"PYTHONPATH": path}
    absent = subprocess.run([sys.executable, "-c", "import jax"], env=environment, capture_output=True, check=False)
    assert absent.returncode == 1  # the blocking blocks
    for words in (command, [*command, "--overwrite"]):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "$ fasttok fit " in done.stderr
        assert f"open {tmp_path / 'demo-tokens' / 'tokens.html'}" in done.stderr
    page = (tmp_path / "demo-tokens" / "tokens.html").read_text(encoding="utf-8")
    assert "held-out chunk 2" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["']https?:""", page)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "pass --overwrite to replace it" in again.stderr


def test_mistakes_are_errors_before_anything_is_written(tmp_path: Path) -> None:
    for config, says in (
        (TokensPageConfig(tmp_path / "a", embodiment="arn"), "did you mean 'arm'"),
        (TokensPageConfig(tmp_path / "a", episodes=1), "at least 2"),
    ):
        with pytest.raises(InputError, match=says):
            main(config)
    assert list(tmp_path.iterdir()) == []


def test_motions_are_the_robots_own() -> None:
    moved = motion("planar", 3)
    assert moved.ndim == 2
    assert moved.shape[1] == 3
    assert (moved == motion("planar", 3)).all()
    assert moved.shape != motion("planar", 4).shape or (moved != motion("planar", 4)).any()
