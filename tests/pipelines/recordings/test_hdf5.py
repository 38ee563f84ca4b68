"""HDF5 as recordings: parts, splits, episodes by their place, and what a part rejects."""

from pathlib import Path

import numpy as np
import pytest

from fasttok.episodes import BadRecord, Episode
from fasttok.episodes.dataset_entry import HdfPaths
from fasttok.episodes.formats import is_hdf5
from fasttok.episodes.frames import Frame
from fasttok.errors import InputError
from pipelines.recordings import hdf5
from pipelines.recordings.hdf5 import HdfRecordings
from tests.fasttok import hdf5_files as made

h5py = pytest.importorskip("h5py")


def fingerprint(frame: Frame) -> bytes:
    return frame.tobytes() if isinstance(frame, np.ndarray) else repr(frame).encode()


def read(opened: HdfRecordings, split: str) -> tuple[list[Episode], list[BadRecord]]:
    every = [record for part in opened.sections()[split] for record in opened.read(part, verify=True)]
    return [e for e in every if isinstance(e, Episode)], [e for e in every if isinstance(e, BadRecord)]


def test_masks_are_splits_and_an_episode_may_be_in_several(tmp_path: Path) -> None:
    opened = HdfRecordings(str(made.robomimic(tmp_path / "lift.hdf5")), "lift")
    assert {s: [e.where.number for e in read(opened, s)[0]] for s in opened.sections()} == {
        "train": [0, 2],
        "20_percent": [2],
        "valid": [1],
    }


def test_the_episode_at_a_place_is_the_one_that_was_read(tmp_path: Path) -> None:
    made.libero(tmp_path / "libero")
    made.d4rl(tmp_path / "libero" / "d4rl.hdf5")
    made.aloha(tmp_path / "libero" / "aloha", compress=True)
    opened = HdfRecordings(str(tmp_path / "libero"), "all")
    found, bad = read(opened, "train")
    assert (len(found), bad) == (3 * 2 + 3 + 3, [])
    for episode in found[::-1]:
        again = opened.read_at(episode.where)
        assert isinstance(again, Episode)
        assert again.metadata == episode.metadata
        assert all(np.array_equal(again.steps[key], episode.steps[key]) for key in episode.steps)
        for name, frames in episode.frames.items():
            assert [fingerprint(a) for a in frames.read()] == [fingerprint(b) for b in again.frames[name].read()]


def test_large_files_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.robomimic(tmp_path / "lift.hdf5", masks=False)
    monkeypatch.setattr(hdf5, "PART_EPISODES", 2)
    opened = HdfRecordings(str(tmp_path), "lift")
    assert [(p.start, p.stop) for p in opened.sections()["train"]] == [(0, 2), (2, 3)]
    assert [e.where.number for e in read(opened, "train")[0]] == [0, 1, 2]
    monkeypatch.setattr(hdf5, "PART_BYTES", 1000)
    assert len(opened.sections()["train"]) == 3


def test_patterns_of_an_entry_are_splits(tmp_path: Path) -> None:
    made.aloha(tmp_path, compress=False)
    opened = HdfRecordings(str(tmp_path), "aloha", splits={"train": "episode_[01].hdf5", "val": "*_2.hdf5"})
    assert {split: len(parts) for split, parts in opened.sections().items()} == {"train": 2, "val": 1}
    with pytest.raises(InputError, match=r"split val has no file x\*"):
        HdfRecordings(str(tmp_path), "aloha", splits={"train": "*.hdf5", "val": "x*"}).sections()


@pytest.mark.parametrize(
    ("splits", "train", "warned"),
    [
        (
            {"train": "*.hdf5", "val": "val/*.hdf5"},
            ["a.hdf5"],
            "1 files are in no split of the entry and are left out: x/y",
        ),
        (
            {"train": "**/*.hdf5", "val": "val/*.hdf5"},
            ["a.hdf5", "val/b.hdf5", "x/y/c.hdf5"],
            "several splits (train, val): val/b",
        ),
        ({"train": "x/**/c.hdf5", "val": "val/**"}, ["x/y/c.hdf5"], "are left out: a.hdf5"),
        ({"train": "?/*/*", "val": "val/*"}, ["x/y/c.hdf5"], "are left out: a.hdf5"),
    ],
)
def test_patterns_of_splits_are_fitted_folder_by_folder(
    splits: dict[str, str], train: list[str], warned: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.hdf5", "val/b.hdf5", "x/y/c.hdf5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(tmp_path / name, "w") as file:
            file["action"] = np.zeros((5, 2))
    sections = HdfRecordings(str(tmp_path), "lab", splits=splits).sections()
    assert [Path(part.file).relative_to(tmp_path).as_posix() for part in sections["train"]] == train
    assert [Path(part.file).relative_to(tmp_path).as_posix() for part in sections["val"]] == ["val/b.hdf5"]
    assert warned in caplog.text


def test_an_entry_may_name_the_paths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "lab.h5", "w") as file:
        file.attrs["task text"] = "stack"
        for n in range(3):
            run = file.create_group(f"runs/r{n}")
            run["cmd"], run["q"], run["said"] = np.full((4 + n, 2), n), np.zeros((5 + n, 2)), f"do {n}"
        file["runs/notes/x"] = 3
    paths = HdfPaths("runs/r*", "cmd", "said")
    found, bad = read(HdfRecordings(str(tmp_path), "lab", paths), "train")
    assert not bad
    assert [(e.length, e.metadata["language"]) for e in found] == [(4, "do 0"), (5, "do 1"), (6, "do 2")]
    found, _ = read(HdfRecordings(str(tmp_path), "lab", HdfPaths("runs/r*", "cmd", "@task text")), "train")
    assert {e.metadata["language"] for e in found} == {"stack"}
    found, bad = read(HdfRecordings(str(tmp_path), "lab", HdfPaths("walks/*")), "train")
    assert (found, len(bad)) == ([], 1)
    assert "no group is called" in bad[0].detail


def test_files_that_are_damaged_are_rejects(tmp_path: Path) -> None:
    made.aloha(tmp_path, compress=False)
    (tmp_path / "episode_1.hdf5").write_bytes((tmp_path / "episode_1.hdf5").read_bytes()[:3000])
    (tmp_path / "episode_3.hdf5").write_bytes(b"nothing")
    found, bad = read(HdfRecordings(str(tmp_path), "aloha"), "train")
    assert len(found) == 2
    assert [(b.reason, b.where.file.rsplit("/", 1)[-1]) for b in bad] == [
        ("hdf5", "episode_1.hdf5"),
        ("hdf5", "episode_3.hdf5"),
    ]


def test_one_odd_demo_costs_no_other(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for n in range(10):
            file[f"data/demo_{n}/actions"] = np.zeros((1, 20, 7) if n == 3 else (20, 7))
    opened = HdfRecordings(str(tmp_path), "a")
    found, bad = read(opened, "train")
    assert [e.where.number for e in found] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [(b.where.number, b.reason) for b in bad] == [(3, "features")]
    assert "actions has shape (1, 20, 7), expected (T, D)" in str(bad[0])
    again = opened.read_at(bad[0].where)
    assert isinstance(again, BadRecord)
    assert again.detail == bad[0].detail


def test_masks_whose_names_are_paths_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made.robomimic(tmp_path / "a.hdf5", masks=False)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["mask/valid"] = np.array([b"demo_1", b"demo_9"])
        file["mask"].create_dataset("odd name", data=np.array([b"demo_0"]))
    opened = HdfRecordings(str(tmp_path), "a")
    assert sorted(opened.sections()) == ["train", "valid"]
    assert "odd name is left out" in caplog.text
    assert "train is every episode" in caplog.text
    assert [b.reason for b in read(opened, "valid")[1]] == ["missing"]


def test_a_folder_is_hdf5_by_its_files_or_its_entry(tmp_path: Path) -> None:
    made.libero(tmp_path / "a")
    assert is_hdf5(str(tmp_path / "a"))
    (tmp_path / "a" / "dataset.yaml").write_text("format: webdataset")
    assert not is_hdf5(str(tmp_path / "a"))
    (tmp_path / "a" / "dataset.yaml").write_text("format: hdf5")
    assert is_hdf5(str(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    assert not is_hdf5(str(tmp_path / "b"))
    assert not is_hdf5(str(tmp_path / "nothing"))
