"""Every command with a wrong kind of file: a line that names it, never a traceback."""

import io
import json
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer
from fasttok.cli import main
from pipelines.__main__ import main as pipelines
from tests.chain import Chain


def saved(save: Any, *values: Any, **named: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *values, **named)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a.txt", "text")
    return stream.getvalue()


CONTENTS: dict[str, bytes | str] = {
    "empty": b"",
    "zip": archive(),
    "text": b"hello there\nthis is text\n",
    "binary": bytes(range(255, -1, -1)),
    "list": b"[1, 2]",
    "object": b"{}",
    "null": b"null",
    "nested": b'{"a": {"b": [1, {"c": null}]}}',
    "not UTF-8": "größe: {a: b}\n".encode("latin-1"),
    "deep": b"[" * 100_000,
    "npy": saved(np.save, np.arange(5)),
    "pickle": saved(np.savez, actions=np.array([{"a": 1}, 2], dtype=object)),
    "parquet": b"PAR1" + b"\0" * 40 + b"PAR1",
    "half": "half of what was there",
    "folder": "a folder",
    "link to nothing": "a link",
    "link to itself": "a loop",
}


def put(path: Path, kind: str) -> Path:
    """A wrong file at a path, in place of what is there."""
    before = path.read_bytes() if path.is_file() else b"half"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    content = CONTENTS[kind]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif kind == "half":
        path.write_bytes(before[: len(before) // 2])
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind == "link to itself" else path.parent / "nothing")
    return path


def refused(argv: list[str], capsys: Any) -> bool:
    """Whether a command refuses its arguments in a line; anything else than that and success fails the test."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    said = capsys.readouterr().err
    assert ended.value.code in (0, 1)
    assert (ended.value.code == 0) == ("error: " not in said)
    return ended.value.code == 1


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder, chunks, and a LeRobot folder."""
    folder = tmp_path_factory.mktemp("good")
    chunks = np.random.default_rng(0).uniform(-1, 1, (40, 5, 2)).astype(np.float32)
    ActionTokenizer.fit(chunks, vocab_size=256).save(folder / "tok")
    np.savez(folder / "chunks.npz", actions=chunks)
    (folder / "set/meta").mkdir(parents=True)
    (folder / "set/data/chunk-000").mkdir(parents=True)
    info = {"codebase_version": "v2.1", "robot_type": "so", "total_episodes": 3, "fps": 10, "splits": {"train": "0:3"}}
    (folder / "set/meta/info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": i, "length": 5}) + "\n" for i in range(3)]
    (folder / "set/meta/episodes.jsonl").write_text("".join(lines))
    for i in range(3):
        columns = {"action": chunks[i].tolist(), "episode_index": [i] * 5, "frame_index": list(range(5))}
        pq.write_table(pa.table(columns), folder / f"set/data/chunk-000/episode_{i:06d}.parquet")
    return folder


@pytest.mark.parametrize("kind", CONTENTS)
def test_data(kind: str, good: Path, tmp_path: Path, capsys: Any) -> None:
    for suffix in ("npz", "npy", "parquet", "hdf5", "json", "xyz"):
        wrong = put(tmp_path / f"a.{suffix}", kind)
        if (suffix, kind) == ("npy", "npy"):
            continue
        assert refused(["fit", str(wrong), "--horizon", "5", "--out", str(tmp_path / "out")], capsys), suffix
    for suffix in ("npz", "parquet", "jsonl"):
        wrong = put(tmp_path / f"b.{suffix}", kind)
        for verb in ("encode", "decode"):
            given = [verb, str(good / "tok"), str(wrong), "--out", str(tmp_path / f"{verb}.{suffix}.npz")]
            more = ["--horizon", "5", "--action-dim", "2"] if verb == "decode" else []
            assert refused([*given, *more], capsys) or (suffix, kind) in (("jsonl", "empty"), ("jsonl", "half")), suffix


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_of_folders(kind: str, good: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("tokenizer.json", "processor_config.json", "norm_stats.json"):
        copy = Path(shutil.copytree(good / "tok", tmp_path / "tok", dirs_exist_ok=True))
        put(copy / name, kind)
        refused(["encode", str(copy), str(good / "chunks.npz"), "--out", str(tmp_path / name)], capsys)
        shutil.rmtree(copy)
    for name in ("meta/info.json", "meta/episodes.jsonl", "data/chunk-000/episode_000001.parquet"):
        copy = Path(shutil.copytree(good / "set", tmp_path / "set"))
        put(copy / name, kind)
        refused(["fit", str(copy), "--horizon", "5", "--out", str(tmp_path / "out"), "--overwrite"], capsys)
        shutil.rmtree(copy)


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_of_an_index_of_shards_and_of_entries(kind: str, chain: Chain, tmp_path: Path, capsys: Any) -> None:
    from fasttok.common import console

    wrong = str(put(tmp_path / "wrong.json", kind))
    commands = [
        ["statistics", wrong],
        ["inspect", wrong],
        ["lint", wrong],
        ["datasets", "draft", wrong],
        ["index", wrong, "--out", str(tmp_path / "index")],
        ["index", str(chain.data / "tabletop_planar/1.0.0"), "--out", str(tmp_path / "index"), "--entries", wrong],
        ["build", wrong, "--index", str(chain.index), "--out", str(tmp_path / "shards"), "--samples", "9"],
        ["build", "demo", "--index", wrong, "--out", str(tmp_path / "shards"), "--samples", "9"],
        [
            "build",
            "demo",
            "--index",
            str(chain.index),
            "--tokenizer",
            wrong,
            "--out",
            str(tmp_path / "s"),
            "--samples",
            "9",
        ],
        ["index", str(chain.data / "tabletop_vqa"), "--out", f"{wrong}/below"],
    ]
    for argv in commands:
        out_below_a_folder = kind in ("folder", "link to nothing") and argv[-1].endswith("/below")
        entries_in_a_folder = kind == "folder" and "--entries" in argv
        status = console.run(partial(pipelines, argv))
        said = capsys.readouterr().err
        assert status == int(not (out_below_a_folder or entries_in_a_folder)), (argv, said)
        assert "Traceback" not in said
