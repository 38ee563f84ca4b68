"""SECURITY.md: the tests that it names are there, and text from a file is never code."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fasttok.errors import InputError
from mixtures.registry import load_mixture
from pipelines.datasets.entry_parser import parse_entry
from train.serving.keys import KeyMap
from train.study.study_file import load_study
from train.weights.sources import PICKLES
from train.worlds.world_file import load_world

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
RUNS_CODE = "name: !!python/object/apply:os.system ['touch %s']\n"


def entry(path: Path) -> None:
    parse_entry(path.read_text(), str(path))


READERS: dict[str, Callable[[Path], object]] = {
    "mixture": load_mixture,
    "dataset entry": entry,
    "key map": lambda path: KeyMap.load(str(path)),
    "study": load_study,
    "world": load_world,
}


def test_the_tests_that_prove_it_are_there() -> None:
    named, folder = [], ""
    for name in re.findall(r"`([\w/]*test_\w+\.py)`", PAGE):
        folder = name.rpartition("/")[0] or folder
        named.append(name if "/" in name else f"{folder}/{name}")
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_links_lead_somewhere() -> None:
    assert [name for name in re.findall(r"\]\(([\w/.]+)", PAGE) if not (ROOT / name).exists()] == []


def test_the_pickles_that_it_names_are_refused() -> None:
    named = set(re.findall(r"`(\.\w+)`", PAGE.partition("**Unpickled.**")[2].partition("\n")[0]))
    assert {".bin", ".pt", ".pth", ".ckpt", ".pkl"} == named <= set(PICKLES)


@pytest.mark.parametrize("reader", READERS)
def test_yaml_that_would_run_code_is_an_error(reader: str, tmp_path: Path) -> None:
    ran, file = tmp_path / "ran", tmp_path / "given.yaml"
    file.write_text(RUNS_CODE.replace("%s", str(ran)))
    with pytest.raises(InputError):
        READERS[reader](file)
    assert not ran.exists()


def test_the_yaml_would_run_code(tmp_path: Path) -> None:
    """What the readers refuse does run with a loader that builds objects, so that the test above can fail."""
    import yaml

    ran = tmp_path / "ran"
    yaml.unsafe_load(RUNS_CODE.replace("%s", str(ran)))
    assert ran.exists()
