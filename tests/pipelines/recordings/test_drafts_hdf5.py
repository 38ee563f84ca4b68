"""Drafts for HDF5 files: what the files say, what the projects' conventions are, what is measured, and what is asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fasttok.errors import InputError
from mixtures.yaml_lines import loads
from pipelines.catalogue.commands import DatasetDraftConfig, run_draft
from pipelines.drafts.hdf5 import propose
from tests.fasttok import hdf5_files as made

h5py = pytest.importorskip("h5py")


def tracking(path: Path, delta: bool) -> Path:
    """Eight episodes of a robot whose state follows its actions."""
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file.attrs["fps"], file.attrs["language_instruction"] = 10, "fold the towel"
        for number in range(8):
            state = np.cumsum(rng.normal(size=(150, 3)), axis=0)
            moves = np.diff(state, axis=0, append=state[-1:])
            file[f"take_{number}/action"] = moves if delta else state + moves
            file[f"take_{number}/state"] = state
            file[f"take_{number}/images/top"] = np.zeros((150, 4, 6, 3), np.uint8)
    return path


def test_robosuite_files_say_everything(tmp_path: Path) -> None:
    draft = propose(str(made.controlled(tmp_path / "lift.hdf5")))
    assert draft.questions == ()
    keys = loads(draft.text, "draft")
    assert (keys["name"], keys["format"], keys["robot"], keys["control_hz"]) == ("lift", "hdf5", "Panda", 20)
    assert keys["cameras"] == {"primary": "obs/agentview_image", "wrist": "obs/robot0_eye_in_hand_image"}
    assert [part["encoding"] for part in keys["action"]] == ["delta", "delta", "gripper"]
    assert [part["from"] for part in keys["proprio"]] == ["obs/robot0_eef_pos", "obs/robot0_gripper_qpos"]
    assert "OSC_POSE" in " ".join(draft.assumed)
    absolute = loads(propose(str(made.controlled(tmp_path / "b.hdf5", delta=False))).text, "draft")
    assert [part["encoding"] for part in absolute["action"]] == ["absolute", "absolute", "gripper"]


@pytest.mark.parametrize("delta", [True, False])
def test_the_meaning_of_an_action_is_measured(tmp_path: Path, delta: bool) -> None:
    draft = propose(str(tracking(tmp_path / "towels.h5", delta)))
    assert draft.questions == ()
    keys = loads(draft.text, "draft")
    assert [part["encoding"] for part in keys["action"]] == ["delta" if delta else "absolute"]
    assert (keys["language"], keys["cameras"]) == ("language", {"primary": "images/top"})


LAYOUTS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "robosuite": (lambda root: made.robosuite(root / "demo.hdf5"), ("control_hz", "action")),
    "libero": (lambda root: made.libero(root / "libero"), ()),
    "aloha": (lambda root: made.aloha(root / "aloha", compress=False), ("control_hz",)),
    "aloha_jpeg": (lambda root: made.aloha(root / "aloha", compress=True), ("control_hz",)),
    "maniskill": (lambda root: made.maniskill(root / "trajectory.h5"), ("action",)),
    "d4rl": (lambda root: made.d4rl(root / "hopper.hdf5"), ("control_hz", "action")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_files_do_not_say_is_asked(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, asked = LAYOUTS[layout]
    path = str(write(tmp_path))
    draft = propose(path)
    assert tuple(question.split(":")[0] for question in draft.questions) == asked
    loads(draft.text, "draft")
    run_draft(DatasetDraftConfig(path))
    said = capsys.readouterr()
    assert said.out.startswith(draft.text)
    assert loads(said.out, "draft").get("guesses", []) == list(draft.assumed)
    assert all(question.split("?")[0] in " ".join(said.err.split()) for question in draft.questions)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"a\.hdf5"):
        propose(str(tmp_path))


def grasping(path: Path) -> Path:
    """robomimic's file whose actions are deltas that the hand follows, with robosuite's gripper, and no controller."""
    made.robomimic(path)
    rng = np.random.default_rng(5)
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            moves = rng.normal(size=(150, 6))
            grip = np.where(np.arange(150) < 75, -1.0, 1.0)[:, None]
            place = np.concatenate([np.zeros((1, 6)), np.cumsum(moves, axis=0)[:-1]])
            del demo["actions"], demo["obs"], demo["next_obs"]
            demo["actions"] = np.concatenate([moves, grip], axis=1)
            demo["obs/robot0_eef_pos"], demo["obs/robot0_gripper_qpos"] = place[:, :3], -grip.repeat(2, axis=1)
            demo["obs/agentview_image"] = np.zeros((150, 8, 8, 3), np.uint8)
            for name in ("rewards", "dones", "states"):
                del demo[name]
            demo.attrs["num_samples"] = 150
    return path


def test_robosuites_gripper_needs_no_controller(tmp_path: Path) -> None:
    draft = propose(str(grasping(tmp_path / "lift.hdf5")))
    assert draft.questions == ()
    arm, gripper = loads(draft.text, "draft")["action"]
    assert (arm["slice"], arm["encoding"]) == ([0, 6], "delta")
    assert (gripper["slice"], gripper["closed"], gripper["open"]) == ([6, 7], 1, -1)
    assert "-1 opens" in " ".join(draft.assumed)


def test_a_draft_of_the_current_folder_is_named_as_index_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.controlled(tmp_path / "lifts/demo.hdf5")
    monkeypatch.chdir(tmp_path / "lifts")
    run_draft(DatasetDraftConfig("."))
    assert loads(capsys.readouterr().out, "draft")["name"] == "lifts"
