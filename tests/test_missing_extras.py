"""A command whose extra is not installed says which pip line brings it, without a traceback."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# A path hook that makes a package look absent, as in an environment without the extra.
BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import runpy
sys.argv = {argv!r}
runpy.run_module(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize(
    ("blocked", "argv", "pip_line"),
    [
        (["apache_beam"], ["pipelines", "index", "nowhere", "--out", "out"], "pip install 'fasttok-vla[pipelines]'"),
        (
            ["apache_beam"],
            ["pipelines", "build", "demo", "--out", "out", "--samples", "8"],
            "pip install 'fasttok-vla[pipelines]'",
        ),
        (
            ["jax", "optax", "orbax"],
            ["train", "--shards", "nowhere", "--out", "out"],
            "pip install 'fasttok-vla[train]'",
        ),
        (
            ["jax", "optax", "orbax"],
            ["train.evaluate", "--run", "nowhere", "--env", "a:b"],
            "pip install 'fasttok-vla[train]'",
        ),
        *[
            ([missing], ["train.serving.command", "--run", "nowhere"], "pip install 'fasttok-vla[serve]'")
            for missing in ("jax", "websockets", "msgpack")
        ],
    ],
)
def test_missing_extra_names_the_pip_line(blocked: list[str], argv: list[str], pip_line: str) -> None:
    code = BLOCK.format(blocked=blocked, argv=argv)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert pip_line in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "module", ["fasttok.cli", "mixtures", "pipelines", "train", "train.evaluate", "train.serving.command"]
)
def test_help_works_without_the_extras(module: str) -> None:
    blocked = ["tensorflow", "tensorflow_datasets", "apache_beam", "jax", "optax", "orbax", "rlds", "PIL"]
    code = BLOCK.format(blocked=blocked, argv=[module, "--help"])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # a line that can be pasted
    assert re.search(r"example: fasttok[a-z-]* \S", " ".join(result.stdout.split()), re.IGNORECASE)


def test_check_looks_at_recordings_without_the_extras(tmp_path: Path) -> None:
    moving = np.cumsum(np.random.default_rng(0).normal(size=(200, 2)), axis=0).astype(np.float32)
    np.savez(tmp_path / "episode.npz", action=moving[1:], state=moving[:-1])
    blocked = ["tensorflow", "tensorflow_datasets", "apache_beam", "jax", "optax", "orbax", "rlds"]
    code = BLOCK.format(blocked=blocked, argv=["pipelines", "check", str(tmp_path)])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = result.stdout + result.stderr
    assert "1 of them checked" in said
    assert "pip install" not in said


@pytest.mark.parametrize("missing", ["websockets", "msgpack"])
def test_the_client_without_its_extra_names_the_pip_line(missing: str) -> None:
    code = BLOCK.format(blocked=[missing], argv=[""]).partition("import runpy")[0]
    code += "from fasttok.client import Client\nClient('ws://127.0.0.1:1')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"needs the package '{missing}'" in result.stderr
    assert "pip install 'fasttok-vla[client]'" in result.stderr
