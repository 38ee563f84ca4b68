"""examples/01_...py to 06_...py run and print what they promise; the notebook and the page are made from them."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples import notebook
from examples.commands import environment
from tests.pages.blocks import ROOT


def run(name: str, folder: Path) -> str:
    """What an example prints when it is run in a folder."""
    ours = environment()
    path = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"], cwd=folder, env={**ours, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which example 02 has run."""
    folder = tmp_path_factory.mktemp("tour")
    said = run("02_lerobot_to_shards", folder)
    assert said.count("\n$ fasttok") == 5
    assert (folder / "tour" / "rows.html").is_file()
    return folder


def test_a_tokenizer_is_fitted(tmp_path: Path) -> None:
    said = run("01_fit_tokenizer", tmp_path)
    found = re.search(r"350 numbers became ([\d.]+) tokens.*\nerror: ([\d.]+) radians", said)
    assert found, said
    assert float(found[1]) < 60
    assert float(found[2]) < 0.01


@pytest.mark.slow
def test_shards_are_read_from_pytorch(tour: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    said = run("03_read_from_pytorch", tour)
    assert said.count("batch ") == 3
    assert "samples read before: 192" in said


def test_without_pytorch_the_example_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "tour" / "SHARDS").mkdir(parents=True)
    (tmp_path / "tour" / "SHARDS" / "manifest.json").touch()
    hidden = "import sys; sys.modules['torch'] = None; import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden, ROOT / "examples" / "03_read_from_pytorch.py"],
        cwd=tmp_path, env={**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "PyTorch is not installed; pip install torch\n"


@pytest.mark.slow
def test_a_run_is_trained_and_served(tour: Path) -> None:
    said = run("04_train", tour)
    rows = re.findall(r"step +(\d+): action tokens ([\d.]+), flow ([\d.]+)", said)
    assert float(rows[-1][1]) < float(rows[0][1])
    assert (tour / "tour" / "RUN" / "report.html").is_file()
    said = run("05_serve_and_query", tour)
    assert len(re.findall(r"step +\d+: the run says \[.*\], the demonstration \[", said)) == 3


def test_a_study_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    said = run("06_look_at_a_study", tmp_path)
    assert re.search(r"^ki +53%  \[44%, 61%\]", said, re.MULTILINE)
    assert (tmp_path / "tour" / "figure" / "figure.html").is_file()


def test_the_notebook_and_the_page_are_up_to_date() -> None:
    for path, text in ((notebook.NOTEBOOK, notebook.notebook()), (notebook.PAGE, notebook.page())):
        assert path.read_text(encoding="utf-8") == text, "run: python -m examples.notebook"


def test_the_notebook_is_a_notebook() -> None:
    whole = json.loads(notebook.notebook())
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in whole["cells"]}) == len(whole["cells"])
    code = ["".join(cell["source"]) for cell in whole["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        ast.parse(cell)
    for path in notebook.examples():
        assert any(path.read_text(encoding="utf-8").rstrip().endswith(cell) for cell in code), path
