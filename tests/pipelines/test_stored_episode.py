"""One episode out of a dataset of any format, or out of an INDEX, is the one that a build would take."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from pipelines.index.run import run_index
from pipelines.recordings import hdf5, lerobot
from pipelines.stored_episode import StoredPlace, stored_episode
from tests.chain import Chain
from tests.pipelines.recordings.every_format import index_config, write_all
from tests.pipelines.recordings.lerobot_data import write_v2


@pytest.mark.slow
def test_every_format_and_its_index_give_the_same_episode(tmp_path: Path) -> None:
    datasets = write_all(tmp_path)
    run_index(index_config(datasets, tmp_path / "index"), [])
    indexed: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for episode in open_episodes(str(tmp_path / "index")):
        action = np.asarray(episode.steps["action"])
        columns = action, np.asarray(episode.steps.get("proprio", np.zeros((len(action), 0))))
        indexed.setdefault(episode.metadata["dataset"], []).append(columns)
    assert sorted(indexed) == sorted(Path(path).name for path in datasets)
    for path in datasets:
        name = Path(path).name
        for number in {0, 1, len(indexed[name]) - 1}:
            alone = stored_episode(StoredPlace(path, number=number))
            placed = stored_episode(StoredPlace(str(tmp_path / "index"), number=number, dataset=name))
            for found in (alone, placed):
                assert np.array_equal(found.action, indexed[name][number][0]), (name, number)
                assert np.array_equal(found.state, indexed[name][number][1])
                assert (found.dataset, found.embodiment, found.number) == (name, name, number)
                assert len(found.action_names) == found.action.shape[1]
            assert set(alone.cameras) == set(placed.cameras)
            for slot, frames in alone.cameras.items():
                step = np.array([len(alone.action) // 2])
                [one], [other] = (list(f.take(step).read()) for f in (frames, placed.cameras[slot]))
                assert np.array_equal(np.asarray(one), np.asarray(other))
        with pytest.raises(
            InputError, match=rf"--episode 999: split train of .* has {len(indexed[name])}; expected 0 to"
        ):
            stored_episode(StoredPlace(path, number=999))


def test_numbers_with_gaps_are_counted_as_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a LeRobot folder from which every second episode was taken out, the N-th record is the N-th that is left."""
    root = write_v2(tmp_path / "robot", [10] * 12)
    rows = (root / "meta" / "episodes.jsonl").read_text().splitlines()
    (root / "meta" / "episodes.jsonl").write_text("\n".join(rows[::2]) + "\n")
    for number in range(1, 12, 2):
        (root / "data" / "chunk-000" / f"episode_{number:06d}.parquet").unlink()
    info = json.loads((root / "meta" / "info.json").read_text()) | {"total_episodes": 6, "total_frames": 60}
    (root / "meta" / "info.json").write_text(json.dumps(info | {"splits": {"train": "0:12"}}))
    monkeypatch.setattr(lerobot, "PART_TABLES", 2)
    found = [stored_episode(StoredPlace(str(root), number=number)) for number in range(6)]
    assert [episode.where.number for episode in found] == [0, 2, 4, 6, 8, 10]
    with pytest.raises(InputError, match="has 6; expected 0 to 5"):
        stored_episode(StoredPlace(str(root), number=6))


def test_rejects_of_what_a_file_lacks_are_records_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "lab").mkdir()
    with h5py.File(tmp_path / "lab" / "a.hdf5", "w") as file:
        for number in range(5):
            file[f"data/demo_{number}/actions"] = np.full((9, 2), number, np.float32)
        file["data"].attrs["num_demos"] = 6
    (tmp_path / "lab" / "dataset.yaml").write_text(
        "{name: lab, kind: robot, control_hz: 10, cameras: {}, language: null, action: [{from: action}]}"
    )
    monkeypatch.setattr(hdf5, "PART_EPISODES", 2)
    with pytest.raises(InputError, match=r"episode 0 of lab.* cannot be used: missing"):
        stored_episode(StoredPlace(str(tmp_path / "lab")))
    found = [stored_episode(StoredPlace(str(tmp_path / "lab"), number=number)) for number in range(1, 6)]
    assert [episode.where.number for episode in found] == [0, 1, 2, 3, 4]


def test_an_episode_of_rlds(chain: Chain) -> None:
    arm = str(chain.data / "tabletop_arm/1.0.0")
    found = stored_episode(StoredPlace(arm, "val", 1))
    placed = stored_episode(StoredPlace(str(chain.index), "val", 1, "tabletop_arm"))
    assert np.array_equal(found.action, placed.action)
    assert (found.prompt, found.where) == (placed.prompt, placed.where)
    assert (found.embodiment, found.control_hz) == ("arm", 20.0)
    assert found.action_names[:1] == ("x (m)",)
    assert found.action_encoding[-1] == "gripper"
    [frame] = found.cameras["wrist"].take(np.array([3])).read()
    assert isinstance(frame, bytes)


def test_what_is_not_there_says_so(chain: Chain, tmp_path: Path) -> None:
    arm, index = str(chain.data / "tabletop_arm/1.0.0"), str(chain.index)
    for place, said in (
        (StoredPlace(str(tmp_path / "none")), "no such folder"),
        (StoredPlace(str(tmp_path)), "no INDEX and no dataset"),
        (StoredPlace(index), "has 2 robot datasets; choose one: --dataset"),
        (StoredPlace(index, dataset="arm"), "robot dataset"),
        (StoredPlace(index, "test", dataset="tabletop_arm"), "split"),
        (StoredPlace(index, "train", 12, "tabletop_arm"), "has 12 indexed episodes in split train; expected 0 to 11"),
        (StoredPlace(index, "train", -1, "tabletop_arm"), "counted from 0"),
        (StoredPlace(arm, dataset="tabletop_arm"), "is no INDEX"),
        (StoredPlace(index, dataset="tabletop_arm", entries=("mine.yaml",)), "leave --entries out"),
        (StoredPlace(arm, "test"), "split"),
        (StoredPlace(arm, "val", 4), "has 4; expected 0 to 3"),
        (StoredPlace(str(chain.data / "tabletop_vqa")), "questions or captions|no INDEX and no dataset"),
    ):
        with pytest.raises(InputError, match=said):
            stored_episode(place)


def test_an_episode_that_changed_since_it_was_indexed(chain: Chain, own_data: Path, tmp_path: Path) -> None:
    from pipelines.index.config import IndexConfig

    folder = own_data / "tabletop_planar/1.0.0"
    run_index(IndexConfig((str(folder),), str(tmp_path / "index")), [])
    before = stored_episode(StoredPlace(str(tmp_path / "index")))
    file = Path(before.where.file)
    data = bytearray(file.read_bytes())
    data[before.where.offset + before.where.length // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"episode 0 of tabletop_planar, split train .* cannot be used: crc"):
        stored_episode(StoredPlace(str(tmp_path / "index")))


def test_a_damaged_table_of_an_index_is_named(chain: Chain, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(chain.index, index)
    table = next((index / "tabletop_planar" / "train").glob("*.episodes.parquet"))
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{table.name} is missing or damaged .*; run the index job again"):
        stored_episode(StoredPlace(str(index), dataset="tabletop_planar"))
