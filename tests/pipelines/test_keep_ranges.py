"""Files of step ranges per episode: the steps that they name are kept, others are counted, and a file that changes is noticed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fasttok.actions.chunks import chunk_at, run_ends
from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.episodes import Episode, open_episodes
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.catalogue.commands import entry_of
from pipelines.datasets.actions import representation
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.find_entry import find_entry
from pipelines.datasets.keep_ranges import with_ranges
from pipelines.datasets.standardize import standardize
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.index.statistics import of_chunks
from pipelines.index.statistics_config import StatisticsConfig
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.pipelines.indexing import PLANAR

ENTRY = "name: x\nkind: robot\ncontrol_hz: 5\ncameras: {primary: i}\naction: [{from: a}]\n"


def episode(path: str = "b") -> Episode:
    metadata = {"episode_metadata/recording_folderpath": b"r", "episode_metadata/file_path": path.encode()}
    return Episode({"a": np.arange(10, dtype=np.float32)[:, None]}, metadata)


def entry(file: str, drop_first: int = 0) -> DatasetEntry:
    made = parse_entry(ENTRY, "mine.yaml")
    made = replace(made, name="droid", cameras={}, keep_ranges=entry_of("droid").keep_ranges, drop_first=drop_first)
    return with_ranges(made, (f"droid={file}",))


def test_the_steps_in_the_ranges_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    file = tmp_path / "ranges.json"
    file.write_text(json.dumps({"r--b": [[1, 3], [6, 99]], "r--none": []}))
    found = standardize(entry(str(file)), episode())
    assert found.steps.tolist() == [1, 2, 6, 7, 8, 9]
    assert found.action[:, 0].tolist() == [1, 2, 6, 7, 8, 9]
    assert found.left_out == {"keep_ranges": 4}
    assert standardize(entry(str(file), drop_first=2), episode()).left_out == {"first": 2, "keep_ranges": 3}
    for path, reason in (("other", "keep_ranges"), ("none", "short")):
        with pytest.raises(RejectedError) as caught:
            standardize(entry(str(file)), episode(path))
        assert (caught.value.reason, caught.value.filtered) == (reason, True)


def test_a_file_that_changed_since_index_is_noticed(tmp_path: Path) -> None:
    from pipelines.datasets import keep_ranges

    file = tmp_path / "ranges.json"
    file.write_text('{"r--b": [[0, 5]]}')
    made = entry(str(file))
    file.write_text('{"r--b": [[0, 6]]}')
    keep_ranges._loaded.cache_clear()
    with pytest.raises(InputError, match="has changed since the dataset was indexed"):
        standardize(made, episode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "got list"),
        ("{", "not JSON"),
        ('{"k": [[1]]}', r"'k' has \[1\], expected \[start, stop\]"),
        ('{"k": [[3, 1]]}', "expected"),
        ('{"k": [[-1, 1]]}', "expected"),
        ('{"k": [[0.5, 1]]}', "expected"),
        ('{"k": 3}', "expected"),
    ],
)
def test_a_wrong_file_is_told_at_once(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(InputError, match=message):
        entry(str(tmp_path / "ranges.json"))
    with pytest.raises(InputError, match="cannot be read"):
        entry(str(tmp_path / "missing.json"))


def test_without_a_file_nothing_is_left_out_and_the_flag_needs_a_key() -> None:
    assert with_ranges(entry_of("droid"), ()).keep_ranges is None
    with pytest.raises(InputError, match="does not say how episodes are named"):
        with_ranges(entry_of("kuka"), ("kuka=a.json",))
    with pytest.raises(InputError, match="expected NAME=FILE"):
        with_ranges(entry_of("droid"), ("a.json",))


def test_the_file_lies_below_the_entry(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(ENTRY + "keep_ranges: {file: more/r.json, key: [name]}\n")
    for extra in ((), (str(tmp_path),)):
        found = find_entry(str(tmp_path), "x", extra).keep_ranges
        assert found is not None
        assert found.file == f"{tmp_path}/more/r.json"
    for wrong in (
        "{file: ../r.json, key: [a]}",
        "{file: /r.json, key: [a]}",
        "{file: r.json}",
        "{key: a}",
        "{kee: [a]}",
        "3",
    ):
        with pytest.raises(InputError, match=r"mine\.yaml: line 6"):
            parse_entry(f"{ENTRY}keep_ranges: {wrong}\n", "mine.yaml")


def test_chunks_end_where_a_step_is_left_out(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    """Through index, fit, statistics and build: no chunk holds an action of behind the gap, nor one that was left out."""
    folder, ranges = own_data / PLANAR, [[2, 6], [9, 20]]
    names = [str(e.metadata["episode_metadata/episode_id"], "utf-8") for e in open_episodes(str(folder))]
    (folder / "ranges.json").write_text(json.dumps(dict.fromkeys(names, ranges)))
    with (folder / "dataset.yaml").open("a") as entry:
        entry.write("keep_ranges: {file: ranges.json, key: [episode_metadata/episode_id]}\n")
    index, shards = tmp_path / "index", tmp_path / "shards"
    run_index(IndexConfig((str(folder),), str(index), splits=("train",)), [])
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nchunk: {steps: 8}\nsources:\n  - {name: a, dataset: tabletop_planar, split: train, weight: 1}\n"
    )
    held = [e for e in open_episodes(str(index)) if e.length > 8]
    run_build(BuildConfig(str(tmp_path / "mine.yaml"), str(shards), 2000, str(index), "fit"), [])
    raw = {(Path(e.where.file).name, e.where.number): e for e in open_episodes(str(folder))}
    reader = ShardReader(str(shards))
    seen = set()
    for number in range(reader.num_rows):
        row = reader.row(number)
        action = np.asarray(raw[row["file"], row["episode"]].steps["action"])
        stop = min(next(stop for start, stop in ranges if start <= row["step"] < stop), len(action))
        chunk, real = chunk_at(action[:stop], row["step"], 8, ["delta", "delta", "gripper"])
        assert row["action_steps"] == real
        assert np.array_equal(row["action"].reshape(chunk.shape), chunk)
        seen.add(row["step"])
    assert {2, 5, 9, 12} <= seen
    with Dataset(held, ChunkConfig(horizon=8), every=True) as data:
        (group,) = data.groups.values()
        first = next(group.located("held_out", 1 << 20)).values
    assert not first[3, 1:, :2].any()  # the last step of the first range: its deltas are 0 from there on
    assert first[3, 0, :2].any()
    steps = of_chunks(StatisticsConfig(str(index), horizon=8), open_index(str(index)))
    (embodiment,) = steps.embodiments.values()
    chunks = [chunk for e in held for chunk in chunks_of(e)]
    assert len(held) == 12
    assert embodiment.action.mean == pytest.approx(np.concatenate(chunks).mean(0), abs=1e-6)


POSITIONS = """
name: arm
kind: robot
format: tables
control_hz: 2
cameras: {}
language: task
keep_ranges: {file: ranges.json, key: [task]}
action: [{from: action, names: [x, y, z], unit: m}]
proprio: [{from: state, names: [x, y, z], unit: m}]
"""
MIXTURE = """
name: mine
chunk: {steps: 3}
sources:
  - {name: moves, dataset: arm, weight: 1, action: {form: delta}}
  - {name: asked, dataset: arm, weight: 1, questions: [motion]}
"""


def test_differences_and_answers_end_at_a_gap_too(tmp_path: Path) -> None:
    """An arm goes on by 0.1 m per step, and steps 3 to 7 are left out: no difference of two steps is 0.6 m."""
    folder = tmp_path / "arm"
    folder.mkdir()
    state = np.zeros((10, 3), np.float32)
    state[:, 0] = 0.1 * np.arange(10)
    for number in range(4):
        np.savez(
            folder / f"{number}.npz",
            action=state + np.array([0.1, 0, 0], np.float32),
            state=state,
            task=f"push {number}",
        )
    (folder / "ranges.json").write_text(json.dumps({f"push {n}": [[0, 3], [8, 10]] for n in range(4)}))
    (folder / "dataset.yaml").write_text(POSITIONS)
    (tmp_path / "mine.yaml").write_text(MIXTURE)
    index, shards = tmp_path / "index", tmp_path / "shards"
    entry = run_index(IndexConfig((str(folder),), str(index)), []).datasets["arm"].entry
    run_build(BuildConfig(str(tmp_path / "mine.yaml"), str(shards), 400, str(index), "fit"), [])
    reader = ShardReader(str(shards))
    rows = [reader.row(number) for number in range(reader.num_rows)]
    moves = {row["step"]: row["action"].reshape(3, 3)[:, 0].tolist() for row in rows if row["source"] == "moves"}
    steps = {0: 3, 1: 2, 2: 1, 8: 2, 9: 1}  # stored step -> steps until the gap
    assert moves == {step: pytest.approx([0.1] * n + [0.0] * (3 - n), abs=1e-6) for step, n in steps.items()}
    answers = {row["step"]: row["target"] for row in rows if row["source"] == "asked"}
    assert answers == {step: f"{10 * min(n, 2)} cm forward" for step, n in steps.items()}  # of one second: 2 steps
    counted = of_chunks(StatisticsConfig(str(index), horizon=3, form="delta"), open_index(str(index)))
    assert counted.embodiments["arm"].action.max[0] == pytest.approx(0.1, abs=1e-6)
    represent = representation(entry, "moves", "delta", "stored")
    assert represent is not None
    config = ChunkConfig(horizon=3)
    with Dataset(open_episodes(str(index)), config, represent={"arm": represent}, every=True) as data:
        fitted = next(data.groups["arm"].located("held_out", 1 << 20)).values[:, :, 0].tolist()
    assert fitted == [pytest.approx(moves[step]) for step in steps]


def chunks_of(episode: Episode) -> list[np.ndarray]:
    action, numbers = np.asarray(episode.steps["action"]), episode.metadata["step_numbers"]
    ends = run_ends(numbers)
    return [chunk_at(action[: ends[i]], i, 8, ["delta", "delta", "gripper"])[0] for i in range(len(action))]
