"""What an INDEX asks of an object store, and its tables, which many source files share: the same however they were made."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.counting_store import CountingStore
from fasttok.common import json_files
from fasttok.episodes import open_episodes
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from pipelines.index import compact, run_summary
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.index.statistics import of_index
from tests.chain import Chain
from tests.pipelines.indexing import PLANAR, first_file


@pytest.fixture
def store() -> Iterator[type[CountingStore]]:
    CountingStore.objects.clear()
    CountingStore.requests.clear()
    yield CountingStore
    CountingStore.objects.clear()


def many(data: Path, files: int) -> None:
    """Puts a dataset into the store: its first file, so many times."""
    folder, one = data / PLANAR, first_file(data).read_bytes()
    info = json.loads((folder / "dataset_info.json").read_text())
    (split,) = (split for split in info["splits"] if split["name"] == "train")
    split["shardLengths"] = [split["shardLengths"][0]] * files
    info["splits"] = [split]
    for name in ("features.json", "dataset.yaml"):
        CountingStore.objects[f"data/planar/{name}"] = (folder / name).read_bytes()
    CountingStore.objects["data/planar/dataset_info.json"] = json.dumps(info).encode()
    for number in range(files):
        CountingStore.objects[f"data/planar/tabletop_planar-train.tfrecord-{number:05d}-of-{files:05d}"] = one


def phases(monkeypatch: pytest.MonkeyPatch, out: str) -> dict[str, Counter[str]]:
    """Requests of the driver before and after the workers, and theirs."""
    from pipelines.common.beam import run_stage

    found: dict[str, Counter[str]] = {}

    def lap(phase: str) -> None:
        found[phase] = Counter(CountingStore.requests)
        CountingStore.requests.clear()

    def workers(*arguments: Any, **more: Any) -> None:
        lap("before")
        run_stage(*arguments, **more)
        lap("workers")

    monkeypatch.setattr("pipelines.index.run.run_stage", workers)
    CountingStore.requests.clear()
    run_index(IndexConfig(("slow://data/planar",), out, json=True), [])
    lap("after")
    return found


def test_requests(chain: Chain, store: type[CountingStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """17 GETs and 8 POSTs a source file, and four objects that stayed, when each was read and written by itself."""
    many(chain.data, 80)
    few = phases(monkeypatch, "slow://data/few")
    many(chain.data, 120)
    more = phases(monkeypatch, "slow://data/more")
    assert few["before"] == more["before"]  # the driver asks for no single file
    assert more["after"].pop("DELETE") - few["after"].pop("DELETE") == 40  # the parts, side by side
    assert few["after"] == more["after"]
    each = {kind: (more["workers"][kind] - few["workers"][kind]) / 40 for kind in more["workers"]}
    assert each == {"HEAD": 1, "GET": 2, "PUT": 1, "LIST": 0}
    left = [name for name in store.objects if name.startswith("data/more/")]
    assert len(left) == 6  # index.json, statistics.json, sources.arrow and three tables
    assert len(open_index("slow://data/more").datasets["tabletop_planar"].splits["train"].files) == 1


def test_tables_and_runs_of_any_size_hold_the_same(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "MOST_STEPS", 70)
    monkeypatch.setattr(run_summary, "JOBS_PER_RUN", 3)
    monkeypatch.setattr(compact, "ROWS_PER_GROUP", {"episodes": 2, "rejected": 2, "steps": 17})
    result = run_index(IndexConfig(chain.datasets, str(tmp_path / "index")), [])
    one = open_index(str(chain.index))
    assert result.digest == one.digest
    files = {name: dataset.splits["train"].files for name, dataset in result.datasets.items()}
    assert len(files["tabletop_planar"]) > len(one.datasets["tabletop_planar"].splits["train"].files)
    names = ("statistics.json", "sources.arrow")
    assert [(tmp_path / "index" / name).read_bytes() for name in names] == [
        (chain.index / name).read_bytes() for name in names
    ]
    for mine, theirs in zip(open_episodes(str(tmp_path / "index")), open_episodes(str(chain.index)), strict=True):
        assert mine.where == theirs.where
        assert mine.steps["action"].tobytes() == theirs.steps["action"].tobytes()  # type: ignore[union-attr]


def test_workers_count_what_the_tables_hold(chain: Chain, own_data: Path, tmp_path: Path) -> None:
    """The statistics that workers' counts add up to are those of the tables; also where two datasets are one embodiment."""
    twin = own_data / "twin" / "1.0.0"
    shutil.copytree(own_data / PLANAR, twin)
    for name in ("features.json", "dataset_info.json"):
        (twin / name).write_text((twin / name).read_text().replace("tabletop_planar", "twin"))
    for file in twin.glob("*tfrecord*"):
        file.rename(twin / file.name.replace("tabletop_planar", "twin"))
    entry = (twin / "dataset.yaml").read_text().replace("name: tabletop_planar", "name: twin")
    (twin / "dataset.yaml").write_text(entry)
    for index, datasets in ((chain.index, None), (tmp_path / "index", (str(own_data / PLANAR), str(twin)))):
        if datasets:
            run_index(IndexConfig(datasets, str(index)), [])
        found = json.loads((index / "statistics.json").read_text())
        assert found == json.loads(json.dumps(json_files.encode(of_index(str(index), open_index(str(index))))))
        assert found["embodiments"]
    (both,) = found["embodiments"].values()
    assert both["datasets"] == ["tabletop_planar", "twin"]


def test_what_an_earlier_run_left_is_gone_and_notes_stay(own_data: Path, tmp_path: Path) -> None:
    """0.1.0 wrote four files for each source file; its unfinished runs are done again."""
    out, folder = tmp_path / "index", tmp_path / "index" / "tabletop_planar" / "train"
    folder.mkdir(parents=True)
    (out / ".unfinished").mkdir()
    (out / ".unfinished" / "jobs.json").write_text(
        json.dumps([{"dataset": "a", "split": "train", "file": "f", "stem": "s", "stamp": "x"}])
    )
    left = [
        folder / f"00001-old.{kind}"
        for kind in ("episodes.parquet", "steps.parquet", "rejected.parquet", "summary.json")
    ]
    for file in (*left, folder / "note.txt"):
        file.write_text("{}")
    run_index(IndexConfig((str(own_data / PLANAR),), str(out)), [])
    assert not any(file.exists() for file in left)
    assert (folder / "note.txt").exists()
    stems = open_index(str(out)).datasets["tabletop_planar"].splits["train"].files
    tables = {f"{stem}.{name}.parquet" for stem in stems for name in ("episodes", "steps", "rejected")}
    assert {file.name for file in folder.iterdir()} == {*tables, "note.txt"}


def test_a_driver_that_dies_after_the_workers(own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and parts are not made again."""

    def dies(*_: Any) -> None:
        raise InputError("the driver died")

    config = IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"))
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.index.run.assemble", dies)
        with pytest.raises(InputError, match="died"):
            run_index(config, [])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "index").rglob("*.parquet")}
    assert len(before) == 6
    parts = list((tmp_path / "index" / ".unfinished" / "parts").rglob("*.*"))
    assert len(parts) == 8
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.index.compact.read_part", dies)
        run_index(config, [])
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "index").rglob("*.parquet")} == before
    assert not (tmp_path / "index" / ".unfinished").exists()


def changed(file: Path, at: int) -> None:
    """Flips a bit of a file."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_flipped_bit_of_a_table_is_noticed(own_data: Path, tmp_path: Path) -> None:
    """Numbers are stored nearly as they are, so most flipped bits make other numbers."""
    out = str(tmp_path / "index")
    run_index(IndexConfig((str(own_data / PLANAR),), out), [])
    file = next(Path(out).rglob("*-train-*.steps.parquet"))
    column = pq.read_metadata(file).row_group(0).column(2)
    assert column.path_in_schema.startswith("action")
    begins = column.dictionary_page_offset or column.data_page_offset
    changed(file, begins + column.total_compressed_size - 5)
    for read in (lambda: list(open_episodes(out)), lambda: of_index(out, open_index(out))):
        with pytest.raises(InputError, match=r"steps\.parquet is missing or damaged .*CRC.*; run the index job again"):
            read()


@pytest.mark.parametrize("damage", ["bit", "half", "empty"])
def test_a_damaged_part_is_named(damage: str, own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        raise InputError("the driver died")

    config = IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"))
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.index.compact._made", dies)
        with pytest.raises(InputError, match="died"):
            run_index(config, [])
    part = sorted((tmp_path / "index" / ".unfinished" / "parts").rglob("*.*"))[0]
    if damage == "bit":
        changed(part, part.read_bytes().index(b"PAR1", 2000) + 3000)
    else:
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2 if damage == "half" else 0])
    with pytest.raises(InputError, match=rf"{part.name} is damaged .*; delete it, and run the same command again"):
        run_index(config, [])
    part.unlink()
    run_index(config, [])
    assert len(list(open_episodes(str(tmp_path / "index")))) > 0
