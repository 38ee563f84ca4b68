"""HDF5 files become an INDEX and shards, with their pictures, by their drafted entry or one that names their paths."""

import io
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fasttok.common import json_files
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.datasets.entry_parser import parse_entry
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.shards.reader import ShardReader
from tests.fasttok import hdf5_files as made
from tests.pipelines.recordings.hdf5_lab import ENTRY, lab

h5py = pytest.importorskip("h5py")


def index(data: Path, out: Path, **more: Any) -> Path:
    run_index(IndexConfig((str(data),), str(out), **more), [])
    return out


def rejects(out: Path) -> list[str]:
    return [
        row["detail"] for file in sorted(out.rglob("*.rejected.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def test_a_file_needs_no_entry_if_it_says_enough(tmp_path: Path) -> None:
    out = index(made.controlled(tmp_path / "lift.hdf5"), tmp_path / "INDEX")
    for split, numbers in (("train", [0, 2]), ("valid", [1]), ("20_percent", [2])):
        found = list(open_episodes(str(out), split))
        assert [e.where.number for e in found] == numbers
        assert [e.length for e in found] == [made.LENGTHS[n] for n in numbers]
    assert found[0].metadata["control_hz"] == 20
    assert list(found[0].metadata["action_encoding"]) == ["delta"] * 6 + ["gripper"]


def test_shards_hold_the_pictures_of_their_steps(tmp_path: Path) -> None:
    out = index(lab(tmp_path / "lab"), tmp_path / "INDEX")
    found = list(open_episodes(str(out)))
    assert {e.metadata["language"] for e in found} == {"stack the cups"}
    mixture = tmp_path / "mix.yaml"
    mixture.write_text(
        f"name: m\nchunk: {{steps: 3}}\nindex: {out}\nsources:\n  - {{dataset: lab, weight: 1, encode: {{format: png}}}}\n"
    )
    run_build(BuildConfig(str(mixture), str(tmp_path / "shards"), samples=40), [])
    reader = ShardReader(str(tmp_path / "shards"))
    for row in map(reader.row, range(reader.num_rows)):
        _, _, episode, step, _ = row["sample_id"].rsplit("/", 4)
        pixels = np.asarray(Image.open(io.BytesIO(row["image/primary"])).convert("RGB"))
        assert np.array_equal(pixels, made.PICTURES[int(episode)][int(step)])


def test_what_an_entry_names_and_cannot_be_had_is_said(tmp_path: Path) -> None:
    entry = ENTRY.replace("cams/top", "cams/deep").replace("[{from: cmd}]", "[{from: cmd}, {from: far}]")
    folder = lab(tmp_path / "lab", entry)
    with h5py.File(folder / "lab.h5", "a") as file:
        for n, actions in enumerate(made.ACTIONS):
            file[f"runs/r{n}/cams/deep"] = np.zeros((len(actions), 4, 4), np.uint16)
            if n == 0:
                file["runs/r0/far"] = h5py.ExternalLink("other.h5", "x")
            else:
                file[f"runs/r{n}/far"] = np.zeros((len(actions) + 7 * (n == 1), 2))
    with pytest.raises(InputError, match=r"no usable episode: 2 features"):
        index(folder, tmp_path / "INDEX", max_bad="100%")
    far, short, deep = rejects(tmp_path / "INDEX")
    assert "a link to another file (other.h5)" in far
    assert "has 12 rows, the actions have 5" in short
    assert "one channel" in deep


def test_an_entry_that_must_be_answered_says_the_questions(tmp_path: Path) -> None:
    made.robosuite(tmp_path / "demo.hdf5")
    with pytest.raises(InputError, match=r"leave open:\n  action: is it absolute"):
        index(tmp_path / "demo.hdf5", tmp_path / "INDEX")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("hdf5: 3", r"entry: line 9: hdf5 must be a mapping such as"),
        ("hdf5: {groups: x}", "line 9.*groups"),
        ('hdf5: {episodes: "/runs"}', "expected a path within the file"),
        ("hdf5: {length: []}", "length must be text"),
        ("splits: {train: ../x}", "expected a pattern of paths below"),
        ('splits: {"a/b": x}', "no plain name for a split"),
        ("splits: [a]", "expected a mapping"),
        ("annotations: {a: b}", "is a key of vqa and caption entries"),
    ],
)
def test_keys_of_hdf5_are_checked(line: str, says: str) -> None:
    base = ENTRY.replace('hdf5: {episodes: "runs/*", length: cmd, language: "@task text"}\n', "")
    with pytest.raises(InputError, match=says):
        parse_entry(f"{base}{line}\n", "entry")
    with pytest.raises(InputError):
        parse_entry(f"{base}{line}\n".replace("format: hdf5", "format: lerobot"), "entry")
    old = parse_entry(base, "entry")
    assert "hdf5" not in json_files.encode(old)


def test_layouts_of_projects_become_an_index_of_their_draft(tmp_path: Path) -> None:
    made.libero(tmp_path / "libero")
    found = list(open_episodes(str(index(tmp_path / "libero", tmp_path / "A"))))
    assert [e.length for e in found] == [*made.LENGTHS, *made.LENGTHS]
    assert found[-1].metadata["language"] == "put the bowl on the plate!"
    made.aloha(tmp_path / "aloha", compress=True)
    found = list(open_episodes(str(index(tmp_path / "aloha", tmp_path / "B", control_hz=("aloha=50",)))))
    assert [e.length for e in found] == [*made.LENGTHS]
    assert found[0].metadata["control_hz"] == 50


def test_an_index_of_files_in_a_store(tmp_path: Path) -> None:
    made.libero(tmp_path / "libero")
    fsspec.filesystem("memory").put(str(tmp_path / "libero"), "/chain/libero", recursive=True)
    run_index(IndexConfig(("memory://chain/libero",), str(tmp_path / "INDEX")), [])
    assert len(list(open_episodes(str(tmp_path / "INDEX")))) == 6
