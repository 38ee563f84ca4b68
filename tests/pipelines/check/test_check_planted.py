"""Each kind of finding is found where it was planted, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.episodes import BadRecord, Where
from pipelines.check.dataset_findings import Curves, DatasetFinding
from pipelines.check.declared import check_rejects
from pipelines.check.read_sample import Rejects
from tests.pipelines.check.motions import differenced, integrated
from tests.pipelines.check.planted import HZ, Made, entry, films, findings, hdf5, lerobot, made, serious, the


def change_info(folder: Path, **changes: object) -> Path:
    file = folder / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def file_of(finding: DatasetFinding) -> str:
    return Path(finding.place.file).name


def labels(finding: DatasetFinding) -> set[str]:
    """What the y axes of a finding's curves show."""
    return {drawing.y_label for drawing in finding.drawings if isinstance(drawing, Curves)}


# What is declared


def test_frames_that_are_declared_and_not_there(tmp_path: Path) -> None:
    folder = change_info(lerobot(tmp_path / "a", made()), total_frames=999_999)
    assert serious(found := findings(folder)) == {"declared": "error"}
    assert "999,999" in the("declared", found).what


def test_episodes_that_are_declared_and_not_there(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", made())
    (folder / "data/chunk-000/episode_000003.parquet").unlink()
    found = findings(folder)
    assert set(serious(found)) == {"declared"}
    assert "3" in the("declared", found).what


def test_demos_shorter_than_num_samples(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    file = hdf5(tmp_path / "a.hdf5", made())
    with h5py.File(file, "a") as h5:
        h5["data/demo_2"].attrs["num_samples"] = 1000
    finding = the("declared", findings(file))
    assert (finding.severity, finding.place.episode) == ("error", 2)
    assert "1000" in finding.what


@pytest.mark.parametrize("most", [500, 2])
def test_records_that_are_missing_from_rlds(tabletop: Path, tmp_path: Path, most: int) -> None:
    folder = tmp_path / "tabletop_planar"
    folder.mkdir()
    for file in (tabletop / "tabletop_planar" / "1.0.0").iterdir():
        data = file.read_bytes()
        if file.name == "dataset_info.json":
            info = json.loads(data)
            info["splits"][0]["shardLengths"] = [str(int(n) + 2) for n in info["splits"][0]["shardLengths"]]
            data = json.dumps(info).encode()
        (folder / file.name).write_bytes(data)
    assert serious(found := findings(folder, most=most)) == {"declared": "error"}
    assert the("declared", found).count >= 2


def test_records_are_counted_beside_all_others_of_their_split() -> None:
    rejects = Rejects(read={"train": 4, "val": 9})
    for split, reason in (("train", "crc"), ("train", "truncated"), ("val", "crc")):
        rejects.add(split, BadRecord(Where("file"), reason, "what is wrong"))
    found = [finding.what for finding in check_rejects(rejects)]
    assert [what.split(" records")[0] for what in found] == ["1 of 6", "1 of 6", "1 of 10"]


# Time stamps


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (1e9, "nanoseconds")])
def test_time_stamps_in_another_unit(tmp_path: Path, factor: float, unit: str) -> None:
    what = made()
    what.times = [times * factor for times in what.times]
    assert unit in the("timestamps", findings(lerobot(tmp_path / "a", what))).what


def test_a_frequency_that_time_stamps_contradict(tmp_path: Path) -> None:
    finding = the("timestamps", findings(lerobot(tmp_path / "a", made(), fps=50)))
    assert finding.severity == "error"
    what = made()
    folder = entry(lerobot(tmp_path / "b", what, fps=None))
    (folder / "dataset.yaml").write_text(
        (folder / "dataset.yaml").read_text().replace("control_hz: 20", "control_hz: 10")
    )
    finding = the("timestamps", findings(folder))
    assert (finding.severity, finding.entry) == ("error", "control_hz: 20")
    told = change_info(folder, fps=20)
    assert "the files record 20 Hz" in the("timestamps", findings(told)).what


def test_a_gap_in_time(tmp_path: Path) -> None:
    what = made()
    what.times[4][30:] += 3.0
    finding = the("timestamps", findings(lerobot(tmp_path / "a", what)))
    assert (finding.severity, finding.place.episode, finding.place.step) == ("error", 4, 30)


def test_jitter(tmp_path: Path) -> None:
    what = made()
    rng = np.random.default_rng(0)
    what.times = [times + rng.uniform(0, 0.4 / HZ, len(times)) for times in what.times]
    finding = the("timestamps", findings(lerobot(tmp_path / "a", what)))
    assert (finding.severity, "jitters" in finding.what) == ("warning", True)
    assert labels(finding) == {"time between steps (s)"}


# Dims


def test_a_constant_dim(tmp_path: Path) -> None:
    what = made()
    for action in what.actions:
        action[:, 1] = 0.25
    finding = the("constant-dim", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"constant-dim": "warning"}
    assert finding.place.dim.startswith("action[1]")


def test_a_nearly_constant_dim(tmp_path: Path) -> None:
    what = made()
    rng = np.random.default_rng(0)
    for action in what.actions:
        action[:, 1] = 0.25 + rng.normal(0, 1e-5, len(action))
    finding = the("nearly-constant-dim", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"nearly-constant-dim": "warning"}
    assert finding.place.dim.startswith("action[1]")


def test_a_sparse_dim(tmp_path: Path) -> None:
    what = made()
    for i, action in enumerate(what.actions):
        action[:, 1] = 0.0
        if i == 5:
            action[20:24, 1] = 1.0
    finding = the("sparse-dim", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"sparse-dim": "warning"}
    assert (finding.place.episode, finding.place.step) == (5, 20)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    what = made()
    what.actions[2][7, 1] = np.nan
    finding = the("not-finite", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"not-finite": "error"}
    assert "1 of 12 episodes have a value of the action" in finding.what
    assert (finding.place.episode, finding.place.step) == (2, 7)


# Single steps


def test_steps_are_numbered_as_they_are_stored(tmp_path: Path) -> None:
    what = made()
    what.actions[2][7, 1] = np.nan
    folder = entry(lerobot(tmp_path / "a", what))
    file = folder / "dataset.yaml"
    file.write_text(file.read_text() + "drop_first: 3\n")
    assert the("not-finite", findings(folder)).place.step == 7


@pytest.mark.parametrize("table", ["actions", "states"])
def test_an_outlier(tmp_path: Path, table: str) -> None:
    what = made()
    getattr(what, table)[6][33, 2] = 40.0
    finding = the("outlier", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"outlier": "warning"}
    assert (finding.place.episode, finding.place.step, finding.count) == (6, 33, 1)


def test_a_jump(tmp_path: Path) -> None:
    what = made()
    shift = 1.6 if what.states[6][33, 2] < 0 else -1.6
    what.states[6][33, 2] += shift
    finding = the("jump", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"jump": "warning"}
    assert finding.place.episode == 6
    assert finding.place.step in (33, 34)


@pytest.mark.parametrize("turn", [2 * np.pi, 360.0])
def test_an_angle_that_wraps(tmp_path: Path, turn: float) -> None:
    what = made()
    for action, state in zip(what.actions, what.states, strict=True):
        for table in (action, state):
            table[:, 2] = np.mod(table[:, 2] * turn * 0.7 + turn / 2, turn) - turn / 2
    found = findings(lerobot(tmp_path / "a", what))
    assert set(serious(found)) == {"angle-wrap"}
    assert "rotation: angle" in the("angle-wrap", found).entry


def turning(folder: Path, rotation: str, stop: int = 3, more: str = "") -> Path:
    """A dataset whose entry calls the first columns of the state a rotation."""
    file = entry(folder) / "dataset.yaml"
    part = f"slice: [0, {stop}], rotation: {rotation}{more}"
    file.write_text(file.read_text().replace("state, slice: [0, 3], names: [x, y, z]", f"state, {part}"))
    return folder


def test_angles_in_degrees(tmp_path: Path) -> None:
    """A rotation is read in radians, whatever the unit in the entry says."""
    what = made()
    assert "rotation-values" not in serious(findings(turning(lerobot(tmp_path / "rad", what), "euler_xyz")))
    for state in what.states:
        state[:, :3] = np.degrees(state[:, :3])
    finding = the("rotation-values", findings(turning(lerobot(tmp_path / "deg", what), "euler_xyz")))
    assert (finding.severity, "look like degrees" in finding.what) == ("warning", True)
    assert finding.entry.startswith("scale: 0.0174532925")
    mended = turning(lerobot(tmp_path / "scaled", what), "euler_xyz", more=", scale: 0.0174532925, unit: rad")
    assert "rotation-values" not in serious(findings(mended))


def test_columns_that_are_no_quaternion(tmp_path: Path) -> None:
    """scipy would make every four numbers a quaternion of length 1."""
    what = made()
    for state in what.states:
        state[:, :4] /= np.linalg.norm(state[:, :4], axis=1, keepdims=True)
        state[0] = 0  # padding
    assert "rotation-values" not in serious(findings(turning(lerobot(tmp_path / "a", what), "quaternion_xyzw", 4)))
    for state in what.states:
        state[:, :4] *= 0.8
    finding = the("rotation-values", findings(turning(lerobot(tmp_path / "b", what), "quaternion_xyzw", 4)))
    assert finding.severity == "error"
    assert "such as 0.8" in finding.what


def test_a_split_that_is_named_twice_has_no_copies(tmp_path: Path) -> None:
    assert serious(findings(lerobot(tmp_path / "a", made()), splits=("train", "train"))) == {}


def test_idle_steps(tmp_path: Path) -> None:
    what = made()
    waits = [np.concatenate([np.repeat(t[:1], 3 * len(t), axis=0), t]) for t in what.actions]
    states = [np.concatenate([np.repeat(t[:1], 3 * len(t), axis=0), t]) for t in what.states]
    slow = Made(waits, states, [np.arange(len(w)) / HZ for w in waits])
    finding = the("idle", found := findings(lerobot(tmp_path / "a", slow)))
    assert serious(found) == {"idle": "warning"}
    assert "idle_below" in finding.entry


def test_a_robot_that_is_sampled_often_is_not_idle(tmp_path: Path) -> None:
    """At 200 Hz, a robot that needs 4 s to cross its range moves by less than 0.2 % of it in each step."""
    hz, episodes = 200, 3
    turns = [2 * np.pi * (np.arange(1600) / hz / 8 + start) for start in (0.0, 0.3, 0.6)]
    actions = [np.stack([np.sin(t), np.cos(t), np.sin(t + 1), np.repeat([0, 1], 800)], axis=1) for t in turns]
    times = [np.arange(1600) / hz] * episodes
    moving = findings(lerobot(tmp_path / "a", Made(actions, [np.roll(a, 1, axis=0) for a in actions], times), fps=hz))
    assert "idle" not in {finding.check for finding in moving}
    waits = [np.concatenate([np.repeat(a[:1], 1600, axis=0), a]) for a in actions]
    slow = Made(waits, [np.roll(a, 1, axis=0) for a in waits], [np.arange(3200) / hz] * episodes)
    finding = the("idle", findings(lerobot(tmp_path / "b", slow, fps=hz)))
    assert "50 % of all steps" in finding.what
    assert "the longest pause from step 0 to 160" in finding.what


# Action against state


def test_a_delta_that_the_entry_calls_absolute(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made("delta")), "absolute")
    finding = the("action-meaning", found := findings(folder))
    assert serious(found) == {"action-meaning": "error"}
    assert "delta already" in finding.what
    assert "encoding: delta" in finding.entry


def test_an_absolute_action_that_the_entry_calls_a_delta(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made("absolute")), "delta")
    finding = the("action-meaning", found := findings(folder))
    assert serious(found) == {"action-meaning": "error"}
    assert "encoding: absolute" in finding.entry


@pytest.mark.parametrize("meaning", ["absolute", "delta"])
def test_without_an_entry_it_says_what_to_write(tmp_path: Path, meaning: str) -> None:
    found = findings(lerobot(tmp_path / "a", made(meaning)))
    finding = the("action-meaning", found)
    assert (finding.severity, finding.entry) == ("note", f"{{from: action, slice: [0, 3], encoding: {meaning}}}")
    assert labels(finding) == {"place in its own range (0 to 1)"}  # not raw units: the two have others


def test_integrated_and_differenced_copies(tmp_path: Path) -> None:
    for name, what in (("a", made("absolute")), ("d", made("delta"))):
        other = differenced(what.actions) if name == "a" else integrated(what.actions, what.states)
        for action, given in zip(other, what.actions, strict=True):
            action[:, 3] = given[:, 3]
        turned = Made(other, what.states, what.times)
        wrong = "absolute" if name == "a" else "delta"
        assert serious(findings(entry(lerobot(tmp_path / name, turned), wrong))) == {"action-meaning": "error"}


def test_a_velocity_in_a_unit_of_length(tmp_path: Path) -> None:
    what = made("delta")
    for action in what.actions:
        action[:, :3] *= HZ
    folder = entry(lerobot(tmp_path / "a", what), "delta, unit: m")
    finding = the("action-meaning", found := findings(folder))
    assert serious(found) == {"action-meaning": "warning"}
    assert "m/s" in finding.todo


def test_an_action_that_is_the_state_itself(tmp_path: Path) -> None:
    what = made()
    what.actions = [state.copy() for state in what.states]
    assert serious(findings(lerobot(tmp_path / "a", what))) == {"action-is-state": "warning"}


# Grippers


def test_a_gripper_whose_ends_are_the_wrong_way_round(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made()), gripper="closed: 1, open: 0")
    assert serious(found := findings(folder)) == {"gripper-direction": "error"}
    assert "closed: 0, open: 1" in the("gripper-direction", found).entry


def test_a_gripper_against_a_width_that_the_entry_calls_no_gripper(tmp_path: Path) -> None:
    for gripper, expected in (("closed: 0, open: 1", {}), ("closed: 1, open: 0", {"gripper-direction": "warning"})):
        folder = entry(lerobot(tmp_path / f"set{gripper[8]}", made()), gripper=gripper)
        file = folder / "dataset.yaml"
        file.write_text(file.read_text().replace("encoding: gripper, closed: 0, open: 0.08, ", ""))
        assert serious(findings(folder)) == expected


def test_a_gripper_beyond_its_ends(tmp_path: Path) -> None:
    what = made()
    for action in what.actions:
        action[:, 3] *= 255
    assert serious(findings(entry(lerobot(tmp_path / "a", what)))) == {"gripper-ends": "error"}


def test_a_gripper_that_would_hardly_open(tmp_path: Path) -> None:
    what = made()
    for action in what.actions:
        action[:, 3] *= 0.08
    assert serious(findings(entry(lerobot(tmp_path / "a", what)))) == {"gripper-ends": "warning"}


# Words


def test_instructions_that_are_missing(tmp_path: Path) -> None:
    tasks = ["", *[f"do number {i}" for i in range(11)]]
    finding = the("language", found := findings(lerobot(tmp_path / "a", made(), tasks=tasks)))
    assert serious(found) == {"language": "warning"}
    assert (finding.place.episode, finding.count) == (0, 1)


def test_instructions_where_the_entry_says_and_nothing_is(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made()))
    file = folder / "dataset.yaml"
    file.write_text(file.read_text().replace("language: task", "language: words"))
    assert serious(findings(folder)) == {"language": "error"}


def test_instructions_that_say_nothing(tmp_path: Path) -> None:
    assert serious(findings(lerobot(tmp_path / "a", made(), tasks=["TODO"] * 12))) == {"language": "warning"}


def test_instructions_that_are_all_the_same(tmp_path: Path) -> None:
    finding = the("language", findings(lerobot(tmp_path / "a", made(), tasks=["pick it up"] * 12)))
    assert finding.severity == "note"
    assert "pick it up" in finding.what


def test_instructions_that_change_on_the_way(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", made())
    file = folder / "data" / "chunk-000" / "episode_000002.parquet"
    table = pq.read_table(file)
    texts = ["first"] * 5 + ["then another"] * (len(table) - 5)
    pq.write_table(table.set_column(table.column_names.index("task"), "task", pa.array(texts)), file)
    finding = the("language", found := findings(folder))
    assert serious(found) == {"language": "warning"}
    assert (finding.place.episode, finding.count) == (2, 1)
    assert "on the way" in finding.what


# Cameras


def with_cameras(tmp_path: Path, what: Made, *cameras: list[np.ndarray]) -> list[DatasetFinding]:
    pytest.importorskip("h5py")
    named = {f"camera{i}_image": camera for i, camera in enumerate(cameras)}
    return findings(hdf5(tmp_path / "set.hdf5", what, named))


def test_a_black_camera(tmp_path: Path) -> None:
    what = made()
    dark = films(what)
    dark[3][:] = 1
    finding = the("camera-black", found := with_cameras(tmp_path, what, dark))
    assert serious(found) == {"camera-black": "warning"}
    assert finding.place.episode == 3


def test_a_frozen_camera(tmp_path: Path) -> None:
    what = made()
    still = films(what)
    still[5][:] = still[5][0]
    finding = the("camera-frozen", found := with_cameras(tmp_path, what, still))
    assert serious(found) == {"camera-frozen": "warning"}
    assert finding.place.episode == 5


def test_a_file_with_red_and_blue_exchanged(tmp_path: Path) -> None:
    what = made()
    views = films(what)
    for i in (2, 7):
        views[i] = views[i][..., ::-1]
    finding = the("camera-colours", found := with_cameras(tmp_path, what, views))
    assert serious(found) == {"camera-colours": "warning"}
    assert finding.count == 2
    assert finding.place.episode in (2, 7)


def test_a_camera_with_red_and_blue_exchanged_beside_another(tmp_path: Path) -> None:
    what = made()
    other = [film[..., ::-1] for film in films(what, 1)]
    assert serious(with_cameras(tmp_path, what, films(what), other)) == {"camera-colours": "warning"}


def test_one_camera_in_two_slots(tmp_path: Path) -> None:
    what = made()
    assert serious(with_cameras(tmp_path, what, films(what), films(what))) == {"camera-twice": "warning"}


def test_a_camera_that_the_entry_names_and_nothing_has(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made()), cameras="{primary: observation.images.top}")
    assert serious(found := findings(folder)) == {"camera-missing": "error"}
    assert "observation.images.top" in the("camera-missing", found).what


def test_a_column_that_the_entry_names_and_nothing_has(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made()))
    file = folder / "dataset.yaml"
    file.write_text(file.read_text().replace("from: action, slice: [3, 4]", "from: action, slice: [4, 5]"))
    finding = the("not-finite", findings(folder))
    assert (finding.severity, finding.place.dim) == ("error", "action[4] (gripper)")


def test_videos_that_are_not_there(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "g1_bottle"
    folder.mkdir()
    for name in ("data", "meta", "videos"):
        (folder / name).symlink_to(shared_data / "lerobot" / "g1_bottle" / name)
    text = (
        "name: g1_bottle\nkind: robot\ncontrol_hz: 30\nlanguage: task\n"
        "cameras: {primary: observation.images.cam_high}\naction: [{from: action}]\nproprio: [{from: observation.state}]\n"
    )
    (folder / "dataset.yaml").write_text(text)
    finding = the("camera-missing", found := findings(folder, most=12))
    assert serious(found) == {"camera-missing": "error"}
    assert "episode_000000.mp4" in finding.what


def test_one_camera_that_the_entry_takes_twice(tmp_path: Path) -> None:
    folder = entry(lerobot(tmp_path / "a", made()), cameras="{primary: observation.top, wrist: observation.top}")
    assert serious(findings(folder)) == {"camera-twice": "warning", "camera-missing": "error"}


# Copies


def test_an_episode_that_is_there_twice(tmp_path: Path) -> None:
    what = made()
    for table in (what.actions, what.states, what.times):
        table[8] = table[3].copy()
    finding = the("duplicate-episode", found := findings(lerobot(tmp_path / "a", what)))
    assert serious(found) == {"duplicate-episode": "warning"}
    assert finding.place.episode in (3, 8)


def test_a_held_out_episode_that_is_trained_on(tmp_path: Path) -> None:
    what = made()
    for table in (what.actions, what.states, what.times):
        table[11] = table[3].copy()
    folder = lerobot(tmp_path / "a", what, splits={"train": "0:10", "val": "10:12"})
    finding = the("held-out-leak", found := findings(folder))
    assert serious(found) == {"held-out-leak": "error"}
    assert (finding.place.episode, finding.count) == (11, 1)


def test_masks_that_share_a_demo(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    masks = {"train": [f"demo_{i}" for i in range(10)], "valid": ["demo_9", "demo_10", "demo_11"]}
    finding = the("held-out-leak", found := findings(hdf5(tmp_path / "a.hdf5", made(), masks=masks)))
    assert serious(found) == {"held-out-leak": "error"}
    assert finding.place.episode == 9


def test_a_split_that_is_train_again_is_only_noted(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "a", made(), splits={"train": "0:12", "val": "0:12"})
    assert the("held-out-leak", found := findings(folder)).severity == "note"
    assert serious(found) == {}
    assert file_of(the("held-out-leak", found)) == "episode_000000.parquet"
