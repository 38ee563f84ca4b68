"""Every format that `fasttok fit` reads gives the same episodes, and so the same tokenizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.episodes import BadRecord, open_episodes
from fasttok.errors import InputError

RNG = np.random.default_rng(0)
EPISODES = [np.cumsum(RNG.normal(0, 0.1, (int(n), 3)), axis=0).astype(np.float32) for n in RNG.integers(5, 40, 12)]
STATES = [RNG.normal(size=(len(e), 2)).astype(np.float32) for e in EPISODES]


def write_lerobot(root: Path, version: str, episodes_a_file: int, cut: int = 0) -> None:
    """`cut`: rows of each file's last episode that go on in the next file."""
    (root / "meta").mkdir(parents=True)
    info = {
        "codebase_version": version,
        "fps": 20,
        "total_episodes": len(EPISODES),
        "robot_type": "arm",
        "splits": {"train": "0:12"},
    }
    (root / "meta" / "info.json").write_text(json.dumps(info))
    rows: dict[str, list[Any]] = {"episode_index": [], "action": [], "observation.state": [], "frame_index": []}
    files, held = 0, dict(rows)
    for number, (actions, states) in enumerate(zip(EPISODES, STATES, strict=True)):
        rows["episode_index"] += [number] * len(actions)
        rows["action"] += actions.tolist()
        rows["observation.state"] += states.tolist()
        rows["frame_index"] += list(range(len(actions)))
        if (number + 1) % episodes_a_file == 0 or number + 1 == len(EPISODES):
            keep = len(rows["action"]) - (cut if number + 1 < len(EPISODES) else 0)
            held = {key: values[keep:] for key, values in rows.items()}
            path = root / "data" / "chunk-000" / f"file-{files:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({key: values[:keep] for key, values in rows.items()}), path, row_group_size=17)
            rows, files = {key: list(values) for key, values in held.items()}, files + 1


def write_hdf5(root: Path, style: str) -> None:
    h5py = pytest.importorskip("h5py")
    root.mkdir()
    if style == "robomimic":
        with h5py.File(root / "demos.hdf5", "w") as file:
            for number, (actions, states) in enumerate(zip(EPISODES, STATES, strict=True)):
                demo = file.create_group(f"data/demo_{number}")
                demo["actions"], demo["obs/joints"] = actions, states
                demo["obs/image"] = np.zeros((len(actions), 4, 4, 3), np.uint8)
            file["mask/valid"] = np.array([b"demo_3", b"demo_10"])
    else:
        for number, (actions, states) in enumerate(zip(EPISODES, STATES, strict=True)):
            with h5py.File(root / f"episode_{number:02d}.hdf5", "w") as file:
                file["action"], file["observations/qpos"] = actions, states


def write(root: Path, what: str) -> str:
    if what == "parquet":
        root.mkdir()
        numbers = np.repeat(np.arange(len(EPISODES)), [len(e) for e in EPISODES])
        table = pa.table({"episode": numbers, "action": [row.tolist() for e in EPISODES for row in e]})
        pq.write_table(table, root / "all.parquet", row_group_size=23)
    elif what == "npz":
        root.mkdir()
        for number, actions in enumerate(EPISODES):
            np.savez(root / f"{number:02d}.npz", action=actions)
    elif what == "lerobot_v2":
        write_lerobot(root, "v2.1", 1)
    elif what == "lerobot_v3":
        write_lerobot(root, "v3.0", 5, cut=3)
    else:
        write_hdf5(root, what)
    return str(root)


@pytest.mark.parametrize("what", ["npz", "parquet", "lerobot_v2", "lerobot_v3", "robomimic", "aloha"])
def test_episodes_come_back(tmp_path: Path, what: str) -> None:
    source = open_episodes(write(tmp_path / "data", what))
    found = list(source)
    assert not source.bad
    assert [e.steps["action"].shape for e in found] == [e.shape for e in EPISODES]  # type: ignore[union-attr]
    assert all(np.array_equal(f.steps["action"], e) for f, e in zip(found, EPISODES, strict=True))
    if what.startswith("lerobot"):
        assert source.count == 12
        assert found[0].metadata["control_hz"] == 20
        assert found[0].metadata["embodiment"] == "arm"
        assert np.array_equal(found[5].steps["proprio"], STATES[5])
    if what == "aloha":
        assert np.array_equal(found[5].steps["proprio"], STATES[5])


def test_remote_files_are_read_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    path = write(tmp_path / "data", "lerobot_v3")
    memory = fsspec.filesystem("memory")
    memory.put(path, "/bucket/set", recursive=True)
    assert [e.length for e in open_episodes("memory://bucket/set")] == [len(e) for e in EPISODES]


def test_robomimic_masks_choose_episodes(tmp_path: Path) -> None:
    path = write(tmp_path / "data", "robomimic")
    assert [e.where.number for e in open_episodes(path, "valid")] == [3, 10]
    with pytest.raises(InputError, match="valid"):
        list(open_episodes(path, "test"))


def test_hdf5_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["actions"] = np.zeros((3, 2))
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "a.hdf5", "w") as file:
        file["actions"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "actions")
    source = open_episodes(str(tmp_path / "data"))
    assert list(source) == []
    assert isinstance(source.first_bad, BadRecord)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("{", "not a LeRobot info file"),
        ('{"codebase_version": "v1.6"}', "v1.6"),
        ('{"codebase_version": "v2.0", "splits": {"train": "all"}}', "expected a range"),
        ('{"codebase_version": "v2.0", "splits": {"test": "0:1"}}', "no split 'train'"),
    ],
)
def test_lerobot_mistakes_are_explained(tmp_path: Path, info: str, says: str) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(info)
    with pytest.raises(InputError, match=says):
        list(open_episodes(str(tmp_path)))


def test_chunks_of_a_dataset_are_spread_evenly_and_hold_nothing_back(tmp_path: Path) -> None:
    path = write(tmp_path / "data", "parquet")
    with Dataset(open_episodes(path), ChunkConfig(horizon=6)) as data:
        group = data.groups["data"]
        total = sum(map(len, EPISODES))
        assert group.count("train") + group.count("held_out") == total
        every = np.concatenate([chunks for part in ("train", "held_out") for chunks, _ in group.chunks(part, total)])
        assert len(every) == total
        few = np.concatenate([chunks for chunks, _ in group.chunks("train", 10)])
        assert len(few) == 10
        assert all((every == chunk).all(axis=(1, 2)).any() for chunk in few)


def test_a_share_of_the_episodes_is_the_same_in_any_order(tmp_path: Path) -> None:
    episodes = list(open_episodes(write(tmp_path / "data", "npz")))
    lengths = []
    for order in (episodes, episodes[::-1]):
        with Dataset(order, ChunkConfig(horizon=4, episode_share=0.5)) as data:
            lengths.append(sorted(n for g in data.groups.values() for s in g.actions.values() for n in s.lengths))
    assert lengths[0] == lengths[1]
    assert 0 < len(lengths[0]) < len(episodes)
    with pytest.raises(InputError, match="episode share"):
        ChunkConfig(episode_share=0)


@pytest.mark.parametrize("kind", ["lerobot", "hdf5", "npz"])
def test_a_dataset_is_named_alike_however_its_folder_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, snapshot = tmp_path / "pick cup", tmp_path / "datasets--lab--pour" / "snapshots" / "0a1b"
    if kind == "lerobot":
        write_lerobot(data, "v2.1", 1)
        info = data / "meta" / "info.json"
        info.write_text(info.read_text().replace('"arm"', "null"))
    elif kind == "hdf5":
        write_hdf5(data, "aloha")
    else:
        data.mkdir()
        np.savez(data / "a.npz", **{f"episode_{i}": e for i, e in enumerate(EPISODES)})  # type: ignore[arg-type]
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(data)
    monkeypatch.chdir(data)
    held_out = set()
    for path, name in (
        (str(data), "pick_cup"),
        (f"{data}/.", "pick_cup"),
        (".", "pick_cup"),
        (str(snapshot), "pour"),
        (f"{snapshot}/./", "pour"),
    ):
        with Dataset(open_episodes(path), ChunkConfig(horizon=5, episode_share=0.9)) as found:
            assert list(found.groups) == [name]
            held_out.add(tuple(place.lot for place in found.groups[name].places["held_out"]))
    assert len(held_out) == 1


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 3),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float32()),
    ],
    ids=str,
)
def test_lists_of_numbers_are_read_whatever_their_layout(kind: pa.DataType, tmp_path: Path) -> None:
    rows = pa.array(EPISODES[0].tolist(), kind)
    pq.write_table(pa.table({"episode": [0] * len(rows), "action": rows}), tmp_path / "a.parquet")
    (found,) = open_episodes(str(tmp_path / "a.parquet"))
    np.testing.assert_array_equal(found.steps["action"], EPISODES[0])
