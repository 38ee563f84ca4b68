"""A Git LFS pointer in place of data is named as that by every reader."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer
from fasttok.episodes import open_episodes, tfrecord
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from fasttok.storage.streams import read_chunks, read_ids
from pipelines.common.files import read_json
from pipelines.common.image_headers import check_header
from pipelines.vlm import json_stream, jsonl

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def pointer(file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(POINTER)
    return str(file)


def lerobot(folder: Path, info: str) -> str:
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(info)
    pointer(folder / "data/chunk-000/episode_000000.parquet")
    return str(folder)


INFO = '{"codebase_version": "v2.1", "robot_type": "so100", "total_episodes": 1, "fps": 30}'
READERS: dict[str, Callable[[Path], Any]] = {
    "parquet": lambda at: list(open_episodes(pointer(at / "a.parquet"))),
    "npz": lambda at: list(open_episodes(pointer(at / "a.npz"))),
    "tfrecord": lambda at: list(tfrecord.read_records(pointer(at / "a.tfrecord"))),
    "tfrecord at a place": lambda at: tfrecord.read_record(pointer(at / "a.tfrecord"), 0, 130),
    "tfrecord past its end": lambda at: tfrecord.read_record(pointer(at / "a.tfrecord"), 1000, 130),
    "lerobot": lambda at: list(open_episodes(lerobot(at / "set", INFO))),
    "lerobot info": lambda at: open_episodes(lerobot(at / "set", POINTER)),
    "index": lambda at: open_index(str(Path(pointer(at / "index.json")).parent)),
    "json": lambda at: read_json(pointer(at / "a.json"), "a file"),
    "json array": lambda at: json_stream.cut(pointer(at / "a.json"), "", 10),
    "json lines": lambda at: jsonl.line_ranges(pointer(at / "a.jsonl")),
    "chunks of npz": lambda at: list(read_chunks(pointer(at / "a.npz"))),
    "chunks of parquet": lambda at: list(read_chunks(pointer(at / "a.parquet"))),
    "ids of json lines": lambda at: list(read_ids(pointer(at / "a.jsonl"))),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_pointer_is_named(reader: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a Git LFS pointer, not the data: run `git lfs pull`"):
        READERS[reader](tmp_path)


def test_a_pointer_in_an_hdf5_file(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    with pytest.raises(InputError, match="Git LFS pointer"):
        list(open_episodes(pointer(tmp_path / "a.hdf5")))


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json", "norm_stats.json"])
def test_a_pointer_in_a_tokenizer_folder(name: str, tmp_path: Path) -> None:
    chunks = np.random.default_rng(0).uniform(-1, 1, (40, 5, 2))
    ActionTokenizer.fit(chunks, vocab_size=256).save(tmp_path / "tok")
    pointer(tmp_path / "tok" / name)
    with pytest.raises(InputError, match=f"{name}: this is a Git LFS pointer"):
        ActionTokenizer.load(tmp_path / "tok")


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_a_pointer_in_an_rlds_folder(name: str, tmp_path: Path) -> None:
    for file in ("features.json", "dataset_info.json"):
        (tmp_path / file).write_text('{"name": "toy", "splits": [], "pythonClassName": "x"}')
    pointer(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: this is a Git LFS pointer"):
        open_episodes(str(tmp_path))


def test_a_pointer_in_place_of_an_image() -> None:
    assert "git lfs pull" in check_header(POINTER.encode())


def test_a_text_that_mentions_pointers_is_none(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"version": "https://git-lfs.github.com/spec/v1"}\n')
    assert len(jsonl.line_ranges(str(lines))) == 1
    table = pa.table({"episode": [0, 0], "action": [[1.0], [2.0]]})
    pq.write_table(table, tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert len(list(open_episodes(str(tmp_path)))) == 2
