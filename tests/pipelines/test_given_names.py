"""A flag that names a dataset, an entry or a split which the command does not have is an error, and not without effect."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.check.command import CheckConfig, run_check
from pipelines.datasets.find_entry import find_entry
from pipelines.index.config import IndexConfig
from pipelines.index.job_list import plan_all
from pipelines.stored_episode import StoredPlace, stored_episode
from tests.pipelines.one_question import questions

ENTRY = (
    "kind: robot\ncontrol_hz: 10\ncameras: {}\nlanguage: null\nfilters: {language: false}\n"
    "action: [{from: action, encoding: absolute}]\nkeep_ranges: {key: [name]}\n"
)


@pytest.fixture
def arm(tmp_path: Path) -> str:
    folder = tmp_path / "arm"
    folder.mkdir()
    np.savez(folder / "one.npz", action=np.cumsum(np.ones((30, 2)), axis=0))
    (folder / "dataset.yaml").write_text(f"name: arm\n{ENTRY}")
    (tmp_path / "ranges.json").write_text(json.dumps({"a": [[0, 3]]}))
    (tmp_path / "my_arm.yaml").write_text(f"name: my_arm\n{ENTRY}")
    return str(folder)


def plan(arm: str, **flags: Any) -> None:
    here = Path(arm).parent
    given: dict[str, Any] = {name: tuple(text.format(here=here) for text in texts) for name, texts in flags.items()}
    plan_all(IndexConfig((arm,), str(here / "index"), **given), str(here / "index"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"control_hz": ("arm=20", "Arm=50")}, r"--control-hz Arm=50: unknown dataset 'Arm'; .*Known: arm"),
        ({"keep_ranges": ("Arm={here}/ranges.json",)}, r"--keep-ranges Arm=.*: unknown dataset 'Arm'; .*Known: arm"),
        ({"keep_ranges": ("Arm=/no/such.json",)}, "unknown dataset 'Arm'"),
        (
            {"entries": ("{here}/my_arm.yaml",)},
            r"--entries .*my_arm\.yaml: name: unknown dataset 'my_arm'; .*Known: arm",
        ),
        ({"splits": ("train", "vall")}, "--splits vall: no dataset has such a split"),
    ],
)
def test_index_refuses_names_of_nothing(arm: str, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        plan(arm, **flags)


@pytest.mark.parametrize("flags", [{"control_hz": ("mine=5",)}, {"keep_ranges": ("mine={here}/ranges.json",)}])
def test_index_refuses_what_only_robots_have_of_questions(arm: str, flags: dict[str, Any]) -> None:
    folder = questions(Path(arm).parent / "questions")
    with pytest.raises(InputError, match=r"mine=.*: mine has questions or captions and no actions; leave this out"):
        plan(str(folder), **flags)


def test_names_that_fit_pass_and_folders_may_have_more(arm: str) -> None:
    plan(arm, control_hz=("arm=50",), keep_ranges=("arm={here}/ranges.json",), splits=("train",))
    plan(arm, entries=("{here}",))
    plan(arm, entries=("{here}/arm/dataset.yaml", "{here}"))


def test_other_commands_refuse_an_entry_of_another_dataset(arm: str) -> None:
    entries = (str(Path(arm).parent / "my_arm.yaml"),)
    with pytest.raises(InputError, match=r"my_arm\.yaml: name: unknown dataset 'my_arm'"):
        run_check(CheckConfig(arm, entries=entries))
    with pytest.raises(InputError, match=r"my_arm\.yaml: name: unknown dataset 'my_arm'"):
        stored_episode(StoredPlace(arm, entries=entries))


def test_a_dataset_without_an_entry_names_those_that_are_given(arm: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"features of 'leg' mean.*--entries has entries of other names: my_arm"):
        find_entry(str(tmp_path / "leg"), "leg", (str(tmp_path / "my_arm.yaml"),))
