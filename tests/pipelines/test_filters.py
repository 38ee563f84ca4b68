"""Filters that a dataset's entry declares, and the error budget: nothing is left out uncounted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fasttok.episodes import Episode, open_episodes
from fasttok.episodes.dataset_entry import DatasetEntry, EntryFilters, FeatureColumns
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.datasets.filters import RejectedError, parse_filters
from pipelines.datasets.standardize import standardize
from pipelines.index.config import IndexConfig
from pipelines.index.error_budget import parse_budget
from pipelines.index.run import run_index
from pipelines.shards import ShardReader
from pipelines.shards.manifest import RowCounts
from tests.chain import MIXTURE, Chain
from tests.pipelines.indexing import balanced, first_file, rewrite

PLANAR = "tabletop_planar/1.0.0"


def entry(**filters: Any) -> DatasetEntry:
    return DatasetEntry(
        "d",
        "robot",
        action=(FeatureColumns("action", 0, 2, "delta"), FeatureColumns("action", 2, 3, "gripper")),
        language="text",
        filters=EntryFilters(**filters),
    )


def episode(steps: int = 10, **metadata: Any) -> Episode:
    """Moves in steps 3..6, closes its gripper at step 8."""
    action = np.zeros((steps, 3), np.float32)
    action[3:7, 0] = 0.5
    action[8:, 2] = 1
    return Episode({"action": action, "text": [b"pick"] * steps}, metadata)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, list(range(10))),
        ({"idle_below": 0.01, "idle": "ends"}, [3, 4, 5, 6, 7, 8]),
        ({"idle_below": 0.01, "idle": "all"}, [3, 4, 5, 6, 8]),
        ({"idle_below": 0.01, "idle": "none"}, list(range(10))),
        ({"idle_below": 0.01, "max_idle": 0.5}, [3, 4, 5, 6, 7, 8]),
    ],
)
def test_idle_steps(filters: dict[str, Any], kept: list[int]) -> None:
    found = standardize(entry(**filters), episode())
    assert found.steps.tolist() == kept
    assert np.array_equal(found.action, np.asarray(episode().steps["action"])[kept])
    assert found.left_out == ({"idle": 10 - len(kept)} if len(kept) < 10 else {})


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"idle_below": 0.01, "max_idle": 0.4}, "idle"),
        ({"idle_below": 1.0, "idle": "ends"}, "short"),
        ({"min_steps": 11}, "short"),
        ({"success": "done"}, "success"),
    ],
)
def test_unwanted_episodes(filters: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        standardize(entry(**filters), episode(done=False))
    assert (caught.value.reason, caught.value.filtered) == (reason, True)


@pytest.mark.parametrize("said", ["go \ud83d", "caf\udce9", b"caf\xe9", "go \ud83d".encode(errors="surrogatepass")])
def test_an_instruction_that_is_no_unicode_is_a_reject(said: Any) -> None:
    given = episode()
    steps = {key: values for key, values in given.steps.items() if key != "text"}
    with pytest.raises(RejectedError, match=r"text is (not UTF-8|'.*\\ud.*', which is no Unicode)") as caught:
        standardize(entry(), Episode(steps, {"text": said}))
    assert (caught.value.reason, caught.value.filtered) == ("language", False)


def told(said: Any) -> Episode:
    """An episode whose metadata has this under the name of its instruction."""
    given = episode()
    return Episode({key: values for key, values in given.steps.items() if key != "text"}, {"text": said})


@pytest.mark.parametrize(
    "said", [["pick", "place"], np.array([b"pick", b"place"], object), 3, np.float32(0.5), np.zeros(512, np.float32)]
)
def test_what_is_not_one_text_is_no_instruction(said: Any) -> None:
    with pytest.raises(RejectedError, match="expected one text") as caught:
        standardize(entry(), told(said))
    assert (caught.value.reason, caught.value.filtered) == ("language", False)


@pytest.mark.parametrize("said", [["pick"], (b"pick",), np.array([b"pick"], object), np.array("pick")])
def test_a_list_of_one_text_is_an_instruction(said: Any) -> None:
    assert standardize(entry(), told(said)).language == "pick"


@pytest.mark.parametrize("said", [[], np.array([], object), np.float32("nan")])
def test_an_empty_list_is_no_instruction(said: Any) -> None:
    with pytest.raises(RejectedError, match="is empty") as caught:
        standardize(entry(), told(said))
    assert caught.value.filtered


def test_success_of_the_episode_or_of_a_step() -> None:
    standardize(entry(success="done"), episode(done=np.bool_(True)))
    reward = np.zeros(10, np.float32)
    reward[-1] = 1
    found = episode()
    standardize(entry(success="reward"), Episode(found.steps | {"reward": reward}))
    with pytest.raises(RejectedError) as caught:
        standardize(entry(success="missing"), found)
    assert not caught.value.filtered  # a wrong entry is an error, not a wish


@pytest.mark.parametrize("done", ["True", np.array("True"), b"True", [b"True"], {"a": 1}, np.array(["yes", None])])
def test_a_success_that_is_no_flag_is_a_reject(done: Any) -> None:
    with pytest.raises(RejectedError, match="expected true or false") as caught:
        standardize(entry(success="done"), episode(done=done))
    assert (caught.value.reason, caught.value.filtered) == ("features", False)


@pytest.mark.parametrize("done", [None, np.array([None, False], object), float("nan")])
def test_a_missing_success_is_not_true(done: Any) -> None:
    with pytest.raises(RejectedError, match="never true") as caught:
        standardize(entry(success="done"), episode(done=done))
    assert caught.value.filtered
    standardize(
        entry(success="done"), episode(done=np.array([done, True], object)) if done is None else episode(done=1)
    )


@pytest.mark.parametrize(
    "data",
    [
        {"mn_steps": 3},
        {"min_steps": "many"},
        {"idle": "ends"},
        {"idle_below": 1, "idle": "some"},
        [1],
        {"success": True},
    ],
)
def test_wrong_filters_are_named(data: Any) -> None:
    with pytest.raises(InputError, match=r"my\.yaml"):
        parse_filters(data, "my.yaml")


def set_entry(data: Path, **more: Any) -> None:
    file = data / PLANAR / "dataset.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | more))


def no_language(feature: Any) -> None:
    values = feature["steps/language_instruction"].bytes_list.value
    for i in range(len(values)):
        values[i] = b""


def test_filtered_is_counted_apart_and_built_from(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    rewrite(first_file(own_data), no_language)
    filters = {"min_steps": 22, "idle_below": 0.004, "idle": "all", "success": "episode_metadata/success"}
    set_entry(own_data, filters=filters)
    index = tmp_path / "index"
    datasets = tuple(d.replace(str(chain.data), str(own_data)) for d in chain.datasets)
    result = run_index(IndexConfig(datasets, str(index), max_bad="0"), [])  # what filters leave out is not bad
    balanced(result)
    counts = result.datasets["tabletop_planar"].splits["train"]
    assert counts.rejected == {}
    assert counts.filtered["language"] == 1
    assert counts.filtered["short"] > 0
    assert counts.left_out["idle"] > 0
    letters = [r for f in index.glob("tabletop_planar/train/*.rejected.parquet") for r in pq.read_table(f).to_pylist()]
    assert all(letter["filtered"] for letter in letters)
    assert len(letters) == sum(counts.filtered.values())
    held = [e for e in open_episodes(str(index)) if e.metadata["dataset"] == "tabletop_planar"]
    assert sum(e.length for e in held) == counts.steps
    built = run_build(BuildConfig(MIXTURE, str(tmp_path / "shards"), 300, str(index), "fit", shards=2), [])
    assert built.manifest.counts == RowCounts(planned=300, written=300, rejected=0)
    reader = ShardReader(str(tmp_path / "shards"))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    steps = {row["step"] for row in rows if row["source"] == "tabletop_planar"}
    assert steps - set(range(len(steps)))  # numbers of the stored episode, with gaps where steps were left out


def bad_image(feature: Any) -> None:
    feature["steps/observation/image"].bytes_list.value[2] = b"this is no JPEG"


def test_error_budget_fails_the_job_and_can_be_raised(own_data: Path, tmp_path: Path) -> None:
    rewrite(first_file(own_data), bad_image)
    out = tmp_path / "index"
    config = IndexConfig((str(own_data / PLANAR),), str(out), max_bad="1%")
    with pytest.raises(InputError, match=r"1 of 16 records are bad \(1 image\), more than --max-bad 1%"):
        run_index(config, [])
    assert not (out / "index.json").exists()
    before = {f: f.stat().st_mtime_ns for f in out.glob("*/*/*.parquet")}
    assert before
    run_index(IndexConfig((str(own_data / PLANAR),), str(out), max_bad="1"), [])
    assert {f: f.stat().st_mtime_ns for f in out.glob("*/*/*.parquet")} == before  # nothing is read again
    assert json.loads((out / "index.json").read_text())["datasets"]["tabletop_planar"]["splits"]["train"]["rejected"]


@pytest.mark.parametrize("text", ["many", "101%", "-1", "0.5"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--max-bad"):
        parse_budget(text)


def test_records_that_should_be_there_are_counted_as_missing(own_data: Path, tmp_path: Path) -> None:
    file = first_file(own_data)
    whole = file.read_bytes()
    (length,) = np.frombuffer(whole[:8], "<u8")
    file.write_bytes(whole[: int(length) + 16])  # ends where a record does: no checksum can tell
    result = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index")), [])
    counts = result.datasets["tabletop_planar"].splits["train"]
    assert counts.read == 12
    assert counts.rejected == {"missing": 2}
