"""Stage 1: every record is either indexed or a dead letter, and the digest depends on the data alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.episodes import open_episodes, rlds
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.shards.manifest import RowCounts
from tests.chain import MIXTURE, Chain
from tests.fasttok.array_records import to_array_record
from tests.pipelines.indexing import PLANAR, balanced, first_file, rejected, rewrite


def test_index_holds_what_the_data_hold(chain: Chain) -> None:
    balanced(open_index(str(chain.index)))
    index = json.loads((chain.index / "index.json").read_text())
    assert set(index["datasets"]) == {"tabletop_planar", "tabletop_arm", "tabletop_vqa", "tabletop_captions"}
    entry = index["datasets"]["tabletop_planar"]["entry"]
    assert (entry["control_hz"], entry["action_dim"]) == (10, 3)
    assert entry["action_encoding"] == ["delta", "delta", "gripper"]
    raw = {e.metadata["episode_metadata/episode_id"]: e for e in open_episodes(str(chain.data / PLANAR))}
    stored = [e for e in open_episodes(str(chain.index)) if e.metadata["dataset"] == "tabletop_planar"]
    assert len(stored) == len(raw) == 12
    held = {e.steps["action"].tobytes() for e in raw.values()}  # type: ignore[union-attr]
    assert {np.asarray(e.steps["action"]).tobytes() for e in stored} == held


def nan_action(feature: Any) -> None:
    feature["steps/action"].float_list.value[4] = float("nan")


def no_language(feature: Any) -> None:
    values = feature["steps/language_instruction"].bytes_list.value
    for i in range(len(values)):
        values[i] = b""


def bad_image(feature: Any) -> None:
    feature["steps/observation/image"].bytes_list.value[2] = b"this is no JPEG"


def empty(feature: Any) -> None:
    for name in list(feature):
        if name.startswith("steps/"):
            del getattr(feature[name], feature[name].WhichOneof("kind")).value[:]


def fewer_dims(feature: Any) -> None:
    del feature["steps/action"].float_list.value[-1]


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (nan_action, "action not finite", "step 1, dim 1"),
        (bad_image, "image", "step 2"),
        (empty, "empty", "0 steps"),
        (fewer_dims, "features", "action"),
    ],
)
def test_bad_record_is_a_dead_letter(own_data: Path, tmp_path: Path, change: Any, reason: str, detail: str) -> None:
    rewrite(first_file(own_data), change)
    result = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index")), [])
    balanced(result)
    counts = result.datasets["tabletop_planar"].splits["train"]
    assert counts.read == 12
    assert counts.rejected == {reason: 1}
    (letter,) = rejected(tmp_path / "index")
    assert detail in letter["detail"]
    assert letter["offset"] == 0
    assert letter["file"].endswith(first_file(own_data).name)


def test_damaged_files_and_lines_are_counted(own_data: Path, tmp_path: Path) -> None:
    file = first_file(own_data)
    file.write_bytes(file.read_bytes()[:-10])
    vqa = own_data / "tabletop_vqa"
    lines = (vqa / "train.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    (vqa / "images" / json.loads(lines[1])["image"]).write_bytes(b"GIF?")
    lines[0] = json.dumps({**first, "image": "../../secret.jpg"})
    lines[2] = "{broken"
    lines[3] = json.dumps({**json.loads(lines[3]), "answer": ""})
    (vqa / "images" / json.loads(lines[4])["image"]).unlink()
    (vqa / "train.jsonl").write_text("\n".join(lines) + "\n")
    result = run_index(IndexConfig((str(own_data / PLANAR), str(vqa)), str(tmp_path / "index")), [])
    balanced(result)
    counts = result.datasets["tabletop_planar"].splits["train"]
    assert counts.rejected == {"truncated": 1}
    assert counts.read == 12
    assert result.datasets["tabletop_vqa"].splits["train"].rejected == {"image": 3, "json": 1, "language": 1}
    assert result.datasets["tabletop_vqa"].splits["train"].read == 60
    details = " ".join(letter["detail"] for letter in rejected(tmp_path / "index"))
    assert "leads out of the images folder" in details


def test_resume_of_a_finished_index_does_nothing_unless_something_changed(
    own_data: Path, tmp_path: Path, capsys: Any
) -> None:
    out, directories = str(tmp_path / "index"), (str(own_data / PLANAR), str(own_data / "tabletop_vqa"))
    made = run_index(IndexConfig(directories, out), [])
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "index").rglob("*")}
    capsys.readouterr()
    assert run_index(IndexConfig(directories, out, resume=True), []) == made
    assert "is finished" in (said := capsys.readouterr().err)
    assert "nothing to do" in said
    run_index(IndexConfig(directories, out, resume=True, json=True), [])
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "index" / "index.json").read_text())
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "index").rglob("*")} == before
    with pytest.raises(InputError, match="is a finished INDEX; pass --overwrite"):
        run_index(IndexConfig(directories, out), [])
    with pytest.raises(InputError, match="contains the datasets tabletop_planar, tabletop_vqa, and asked for"):
        run_index(IndexConfig(directories[:1], out, resume=True), [])
    with pytest.raises(InputError, match=r"entry of tabletop_planar says something else now \(control_hz\)"):
        run_index(IndexConfig(directories, out, control_hz=("tabletop_planar=7",), resume=True), [])
    rewrite(first_file(own_data), nan_action)
    with pytest.raises(InputError, match=f"{first_file(own_data).name} changed since it was indexed.*pass --overwrite"):
        run_index(IndexConfig(directories, out, resume=True), [])


def test_nothing_usable_is_an_error(own_data: Path, tmp_path: Path) -> None:
    spec = own_data / PLANAR / "features.json"
    spec.write_text(spec.read_text().replace('"3"', '"4"'))
    with pytest.raises(InputError, match=r"no usable episode.*features"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index")), [])
    assert not (tmp_path / "index" / "index.json").exists()


def test_output_that_exists_is_left_alone(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        run_index(IndexConfig(chain.datasets, str(chain.index)), [])
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not an INDEX"):
        run_index(IndexConfig(chain.datasets, str(tmp_path), overwrite=True), [])
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(InputError, match="does not exist"):
        run_index(IndexConfig((str(tmp_path / "nothing"),), str(tmp_path / "index")), [])
    with pytest.raises(InputError, match=r"give one of them: .*tabletop_planar/1\.0\.0"):
        run_index(IndexConfig((str(chain.data / "tabletop_planar"),), str(tmp_path / "index")), [])
    with pytest.raises(InputError, match="none of the splits"):
        run_index(IndexConfig(chain.datasets, str(tmp_path / "index"), splits=("test",)), [])


def test_same_digest_again_and_elsewhere(chain: Chain, own_data: Path, tmp_path: Path) -> None:
    digest = json.loads((chain.index / "index.json").read_text())["digest"]
    moved = tuple(d.replace(str(chain.data), str(own_data)) for d in chain.datasets)
    assert run_index(IndexConfig(moved, str(tmp_path / "moved")), []).digest == digest
    rewrite(first_file(own_data), lambda f: f["steps/action"].float_list.value.__setitem__(0, 0.001))
    assert run_index(IndexConfig(moved, str(tmp_path / "changed")), []).digest != digest


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(chain: Chain, tmp_path: Path) -> None:
    """Killed at random moments, in two processes' middle too, until a run gets through: no trace of the others."""
    out, rng = tmp_path / "index", np.random.default_rng(0)
    command = [sys.executable, "-m", "pipelines", "index", *chain.datasets, "--out", str(out)]
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    kills = 0
    for run in range(12):
        before = {f: f.stat().st_mtime_ns for f in out.glob(".unfinished/parts/*/*/[!.]*")}
        process = subprocess.Popen(
            [*command, *(processes if run % 2 else [])],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        delay = rng.uniform(0.05, 1.2) if not before or run % 3 else 0.02
        while process.poll() is None and not (out / ".unfinished").exists():
            time.sleep(0.005)
        time.sleep(delay)
        if process.poll() is None:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not (out / "index.json").exists():  # what was finished is not done again
            assert all(f.stat().st_mtime_ns == t for f, t in before.items())
        if (out / "index.json").exists():
            if kills:
                break
            shutil.rmtree(out)  # on a busy machine it was through before it could be killed: once more, from nothing
            continue
        with pytest.raises(InputError):
            open_episodes(str(out))
    else:
        subprocess.run(command, check=True, capture_output=True)
    assert kills
    held, expected = (
        {f.relative_to(d): f.read_bytes() for f in d.rglob("*") if f.is_file()} for d in (out, chain.index)
    )
    assert held == expected


def test_unknown_dataset_names_what_to_do(own_data: Path, tmp_path: Path) -> None:
    (own_data / PLANAR / "dataset.yaml").unlink()
    with pytest.raises(InputError, match=r"dataset\.yaml.*--entries"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index")), [])
    entries = tmp_path / "mine.yaml"
    entries.write_text(
        "name: tabletop_planar\nkind: robot\nembodiment: planar\ncontrol_hz: 10\ncameras: {primary: observation/image}\n"
        "language: language_instruction\naction:\n  - {from: action, encodng: delta}\n"
    )
    with pytest.raises(InputError, match="encodng"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"), entries=(str(entries),)), [])
    entries.write_text(entries.read_text().replace("encodng", "encoding"))
    result = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"), entries=(str(entries),)), [])
    assert result.datasets["tabletop_planar"].entry.action_encoding == ("delta",) * 3


def test_reader_and_index_agree_on_real_bridge(shared_data: Path, tmp_path: Path) -> None:
    directory = str(shared_data / "rlds" / "bridge_dataset" / "1.0.0")
    result = run_index(IndexConfig((directory,), str(tmp_path / "index")), [])
    balanced(result)
    for split, counts in result.datasets["bridge_dataset"].splits.items():
        opened = rlds.open_directory(directory)
        assert counts.read == sum(opened.declared[file] for file in opened.splits[split])
    shutil.rmtree(tmp_path / "index")


def test_remote_data_and_a_remote_index(chain: Chain) -> None:
    """Everything over fsspec: what works on its memory store works on gs:// and s3://."""
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(f"{chain.data}/", "/bucket/data", recursive=True)
    places = tuple(d.replace(str(chain.data), "memory://bucket/data") for d in chain.datasets)
    result = run_index(IndexConfig(places, "memory://bucket/index"), [])
    assert result.digest == json.loads((chain.index / "index.json").read_text())["digest"]
    local = list(open_episodes(str(chain.index)))
    remote = list(open_episodes("memory://bucket/index"))
    assert [e.steps["action"].tobytes() for e in remote] == [e.steps["action"].tobytes() for e in local]  # type: ignore[union-attr]
    directory = rlds.open_directory("memory://bucket/data/" + PLANAR)
    file = directory.splits["train"][0]
    for episode in directory.read_file(file):
        again = directory.read_at(episode.where.file, episode.where.offset, episode.where.length)
        assert again.steps["observation/image"] == episode.steps["observation/image"]  # type: ignore[union-attr]
    with pytest.raises(InputError, match="finished INDEX"):
        run_index(IndexConfig(places, "memory://bucket/index"), [])
    store.rm("/bucket", recursive=True)


@pytest.mark.slow
def test_what_the_raw_reader_does_not_cover_is_indexed_and_built_through_tfds(
    chain: Chain, own_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same data as array_record files: other places, the same columns and rows."""
    to_array_record(own_data / PLANAR)
    datasets = tuple(d.replace(str(chain.data), str(own_data)) for d in chain.datasets)
    index = tmp_path / "index"
    with caplog.at_level("WARNING", "fasttok"):
        result = run_index(IndexConfig(datasets, str(index)), [])
    assert "reading through TFDS" in caplog.text
    assert result.datasets["tabletop_planar"].through
    for mine, theirs in zip(open_episodes(str(chain.index)), open_episodes(str(index)), strict=True):
        assert np.array_equal(mine.steps["action"], theirs.steps["action"])
        assert (mine.where.number, mine.metadata["language"]) == (theirs.where.number, theirs.metadata["language"])
    given = BuildConfig(MIXTURE, str(tmp_path / "shards"), 300, str(index), str(chain.tokenizer), shards=2)
    assert run_build(given, []).manifest.counts == RowCounts(planned=300, written=300, rejected=0)
