"""Recipes of the pages that say that they are run: as they are there, on small data, with small numbers for large ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.shards import ShardReader
from tests.pipelines.recordings.lerobot_data import write_v2

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {
    "--samples 20000": "--samples 240",
    "--samples 2000": "--samples 60",
}


def blocks(page: str, language: str = "") -> list[str]:
    """Fenced blocks of a page in a language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in fenced if name == language]


def block(page: str, word: str, language: str = "") -> str:
    """The one block of a page that has a word in it."""
    [found] = [code for code in blocks(page, language) if word in code]
    return found


def shell(commands: str, folder: Path) -> str:
    """Runs commands in a folder, each of which must succeed; what they print."""
    for large, small in SMALLER.items():
        commands = commands.replace(large, small)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{commands}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    return result.stdout


def python(code: str, folder: Path) -> str:
    """Runs a Python block in a folder, as a script; what it prints."""
    (folder / "block.py").write_text(code)
    return shell("python block.py", folder)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_lines_of_python_print_what_stands_below_them(page: str, tmp_path: Path) -> None:
    assert python(block(page, "ActionTokenizer.fit", "python"), tmp_path) == block(page, "numbers become", "text")
    assert (tmp_path / "my_tokenizer" / "README.md").is_file()


def test_both_pages_show_the_same_lines() -> None:
    for language, word in (("python", "ActionTokenizer.fit"), ("text", "numbers become")):
        assert block("README.md", word, language) == block("docs/index.md", word, language)


def test_npz_and_parquet_are_read_as_their_page_says(tmp_path: Path) -> None:
    page = "docs/formats.md"
    code = "\n".join(block(page, word, "python") for word in ("np.savez", "pq.write_table", "open_episodes"))
    assert python(code, tmp_path) == block(page, "padded.npz [", "text")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LeRobot recordings, indexed."""
    folder = tmp_path_factory.mktemp("recipes")
    write_v2(folder / "my_robot", [24 + i % 5 for i in range(20)])
    shell("fasttok-pipelines index my_robot --out INDEX", folder)
    return folder


@pytest.mark.slow
def test_a_part_is_held_out(recordings: Path) -> None:
    page = "docs/splits.md"
    for name in ("train", "val"):
        (recordings / f"{name}.yaml").write_text(block(page, f"name: {name}\n", "yaml"))
    shell(block(page, "fasttok-pipelines build train.yaml"), recordings)
    episodes = []
    for shards in ("SHARDS", "VAL_SHARDS"):
        reader = ShardReader(str(recordings / shards))
        episodes.append({reader.row(i)["episode"] for i in range(reader.num_rows)})
    assert episodes[0]
    assert episodes[1]
    assert not episodes[0] & episodes[1]


def test_the_number_of_episodes_says_how_sure_a_success_is() -> None:
    """docs/tutorials/judge.md: Wilson's intervals of 10 in 20 and 50 in 100."""
    for right, episodes, low, high in ((10, 20, 30, 70), (50, 100, 40, 60)):
        share, z = right / episodes, 1.96
        half = z * np.sqrt(share * (1 - share) / episodes + z * z / (4 * episodes**2)) / (1 + z * z / episodes)
        middle = (share + z * z / (2 * episodes)) / (1 + z * z / episodes)
        assert round(100 * (middle - half)) == low
        assert round(100 * (middle + half)) == high
