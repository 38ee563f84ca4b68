"""Tables without images are datasets without cameras: index, build, and what the files do not say."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.episodes import BadRecord, Episode, open_episodes
from fasttok.episodes.dataset_entry import DatasetEntry, EntryFilters, FeatureColumns
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.standardize import standardize
from pipelines.drafts import drafted
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.recordings.tables import TableRecordings
from pipelines.shards.reader import ShardReader
from tests.pipelines.recordings.every_format import LENGTHS, write_tables


def test_parquet_becomes_shards_without_cameras(tmp_path: Path) -> None:
    data = write_tables(tmp_path / "robot")
    with pytest.raises(InputError, match="--control-hz robot=HZ"):
        run_index(IndexConfig((str(data),), str(tmp_path / "index")), [])
    index = run_index(IndexConfig((str(data),), str(tmp_path / "index"), control_hz=("robot=10",)), [])
    counts = index.datasets["robot"].splits["train"]
    assert (counts.indexed, counts.steps) == (3 * len(LENGTHS), 3 * sum(LENGTHS))
    assert index.datasets["robot"].entry.action_encoding == ("absolute",) * 2
    mixture = tmp_path / "m.yaml"
    mixture.write_text("name: m\nchunk: {steps: 5}\nsources: [{dataset: robot, weight: 1}]\n")
    run_build(BuildConfig(str(mixture), str(tmp_path / "shards"), 100, str(tmp_path / "index")), [])
    reader = ShardReader(str(tmp_path / "shards"))
    assert reader.num_rows == 100
    assert reader.manifest.sources["robot"].cameras == ()


def with_language(folder: Path, **texts: list[str | None]) -> Path:
    """A table whose three episodes have these texts."""
    folder.mkdir()
    rows: dict[str, list[object]] = {name: [] for name in ("episode", "action", "state", *texts)}
    rng = np.random.default_rng(0)
    for number in range(3):
        path = np.cumsum(rng.normal(size=(41, 2)), axis=0).tolist()
        rows["episode"] += [number] * 40
        rows["action"] += path[1:]
        rows["state"] += path[:-1]
        for name, said in texts.items():
            rows[name] += [said[number]] * 40
    pq.write_table(pa.table(rows), folder / "a.parquet")
    return folder


def test_a_draft_takes_the_instruction_by_its_name(tmp_path: Path) -> None:
    data = with_language(tmp_path / "robot", notes=["x"] * 3, language_instruction=[None, "pick", "put"])
    index = run_index(IndexConfig((str(data),), str(tmp_path / "index"), control_hz=("robot=10",)), []).datasets[
        "robot"
    ]
    assert index.entry.language == "language_instruction"
    assert "language: language_instruction, by its name" in index.entry.guesses
    assert (index.splits["train"].indexed, index.splits["train"].filtered) == (2, {"language": 1})
    assert [e.metadata["language"] for e in open_episodes(str(tmp_path / "index"))] == ["pick", "put"]


def test_a_draft_without_an_instruction_says_that_prompts_are_empty(tmp_path: Path) -> None:
    data = with_language(tmp_path / "robot", notes=["x"] * 3, task=[None] * 3)
    entry = drafted(str(data), "tables")
    assert entry.language is None
    assert any("language: none, so prompts are empty; no text is called task," in guess for guess in entry.guesses)


def test_a_draft_takes_the_instruction_of_a_whole_npz(tmp_path: Path) -> None:
    path = np.cumsum(np.random.default_rng(0).normal(size=(5, 41, 2)), axis=1)
    file = tmp_path / "robot.npz"
    np.savez(file, action=path[:, 1:], state=path[:, :-1], language=np.array("stack the cups"))
    entry = drafted(str(file), "tables")
    assert [standardize(entry, episode).language for episode in open_episodes(str(file))] == ["stack the cups"] * 5


def test_npz_with_a_state_that_does_not_follow_asks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "robot.npz", actions=rng.normal(size=(6, 40, 3)), state=rng.normal(size=(6, 40, 3)))
    config = IndexConfig((str(tmp_path / "robot.npz"),), str(tmp_path / "index"), control_hz=("robot=10",))
    with pytest.raises(InputError, match="is it absolute"):
        run_index(config, [])
    entry = tmp_path / "entry.yaml"
    entry.write_text(
        "{name: robot, kind: robot, cameras: {}, language: null, filters: {language: false}, action: [{from: action}]}"
    )
    config = IndexConfig(config.datasets, config.out, control_hz=config.control_hz, entries=(str(entry),))
    assert run_index(config, []).datasets["robot"].splits["train"].steps == 240


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_episode_that_crosses_files_is_refused_as_by_fit(shuffled: bool, tmp_path: Path) -> None:
    data = tmp_path / "robot"
    data.mkdir()
    order = np.random.default_rng(0).permutation(15) if shuffled else np.arange(15)
    for number, half in enumerate(np.split(np.arange(30), 2)):
        rows = half[order]  # rows in any order are sorted by their numbers
        columns = {"episode": rows // 10, "frame_index": rows % 10, "action": (rows[:, None] * [1.0, 2.0]).tolist()}
        pq.write_table(pa.table(columns), data / f"part{number}.parquet", row_group_size=4)
    says = "part1.parquet begins with frame_index 5 of episode 1, whose first steps are in the file before"
    with pytest.raises(InputError, match=says) as by_fit:
        list(open_episodes(str(data)))
    with pytest.raises(InputError, match=says) as by_index:
        TableRecordings(str(data)).sections()
    assert str(by_index.value) == str(by_fit.value)
    with pytest.raises(InputError, match=says):
        run_index(IndexConfig((str(data),), str(tmp_path / "index"), control_hz=("robot=10",)), [])
    (data / "part0.parquet").write_bytes(b"PAR1")  # damaged: nothing says whether the episode of the next begins in it
    recordings = TableRecordings(str(data))
    first, *others = [record for part in recordings.sections()["train"] for record in recordings.read(part, True)]
    assert isinstance(first, BadRecord)
    assert [episode.length for episode in others if isinstance(episode, Episode)] == [5, 10]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_a_missing_instruction_is_none(kind: pa.DataType, tmp_path: Path) -> None:
    texts = pa.array(["pick", "pick", None, None, "put", "put"]).cast(kind)
    rows = {"episode": [0, 0, 1, 1, 2, 2], "action": [[float(i)] for i in range(6)], "text": texts}
    pq.write_table(pa.table(rows), tmp_path / "robot.parquet")
    episodes = list(open_episodes(str(tmp_path / "robot.parquet")))
    action = (FeatureColumns("action"),)
    every = DatasetEntry("robot", "robot", language="text", action=action, filters=EntryFilters(language=False))
    assert [standardize(every, episode).language for episode in episodes] == ["pick", "", "put"]
    with pytest.raises(RejectedError, match="text is empty") as caught:
        standardize(DatasetEntry("robot", "robot", language="text", action=action), episodes[1])
    assert caught.value.filtered


@pytest.mark.parametrize("kind", [pa.null(), pa.float64()], ids=str)
def test_a_column_without_any_text_is_no_instruction(kind: pa.DataType, tmp_path: Path) -> None:
    rows = {"episode": [0, 0], "action": [[0.0], [1.0]], "text": pa.array([None, None], kind)}
    pq.write_table(pa.table(rows), tmp_path / "robot.parquet")
    (episode,) = open_episodes(str(tmp_path / "robot.parquet"))
    with pytest.raises(RejectedError, match="text is empty"):
        standardize(DatasetEntry("robot", "robot", language="text", action=(FeatureColumns("action"),)), episode)


def test_missing_values_of_categories_stay_missing(tmp_path: Path) -> None:
    rows = {"episode": [0, 0, 0], "action": pa.array([5.0, 6.0, None]).dictionary_encode()}
    pq.write_table(pa.table(rows), tmp_path / "robot.parquet")
    (episode,) = open_episodes(str(tmp_path / "robot.parquet"))
    assert np.array_equal(episode.steps["action"], [5, 6, np.nan], equal_nan=True)


def test_a_file_in_the_cache_of_the_hub_is_a_link_and_keeps_its_name(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--lab--pick"
    (cache / "blobs").mkdir(parents=True)
    path = np.cumsum(np.random.default_rng(0).normal(size=(6, 41, 2)), axis=1)
    with (cache / "blobs" / "abcdef").open("wb") as blob:
        np.savez(blob, action=path[:, 1:], state=path[:, :-1])
    link = cache / "snapshots" / "0a1b" / "robot.npz"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("..", "..", "blobs", "abcdef"))
    index = run_index(IndexConfig((str(link),), str(tmp_path / "index"), control_hz=("robot=10",)), [])
    assert index.datasets["robot"].splits["train"].indexed == 6


def test_a_replay_buffer_of_diffusion_policy_is_indexed_by_its_episodes(tmp_path: Path) -> None:
    path = np.cumsum(np.random.default_rng(0).normal(size=(6, 41, 2)), axis=1)
    columns = {"data/action": path[:, 1:].reshape(-1, 2), "data/state": path[:, :-1].reshape(-1, 2)}
    np.savez(tmp_path / "robot.npz", **columns, **{"meta/episode_ends": np.arange(40, 241, 40)})  # type: ignore[arg-type]
    config = IndexConfig((str(tmp_path / "robot.npz"),), str(tmp_path / "index"), control_hz=("robot=10",))
    index = run_index(config, []).datasets["robot"]
    assert (index.splits["train"].indexed, index.splits["train"].steps) == (6, 240)
    assert index.entry.action_encoding == ("absolute",) * 2
