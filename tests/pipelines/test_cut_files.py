"""Large local TFRecord files are cut into jobs by their frame headers: the same records with the same places, damaged or not."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.episodes import BadRecord, Episode, rlds, tfrecord
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.recordings.rlds import sections_of
from tests.pipelines.indexing import PLANAR, balanced, first_file

PIECE = 1000  # bytes: smaller than a record


def told(records: Iterator[Episode | BadRecord]) -> list[Any]:
    return [record if isinstance(record, BadRecord) else record.where for record in records]


def cut_small(monkeypatch: pytest.MonkeyPatch, piece: int = PIECE) -> None:
    monkeypatch.setattr("pipelines.recordings.rlds.LARGE", 1)
    monkeypatch.setattr("pipelines.recordings.rlds.PIECE", piece)


def test_ranges_hold_every_record_once(own_data: Path) -> None:
    file, rng = first_file(own_data), random.Random(20)
    whole, opened = file.read_bytes(), rlds.open_raw(str(file.parent))
    for trial in range(60):
        data = bytearray(whole)
        for _ in range(trial % 4):  # the first ones are not damaged
            data[rng.choice([rng.randrange(16), rng.randrange(len(data))])] ^= 1 << rng.randrange(8)
        file.write_bytes(data[: rng.choice([len(data), len(data), rng.randrange(len(data))])])
        ranges = tfrecord.cut(str(file), rng.choice([1, PIECE, 20_000, len(whole)]))
        found = [record for part in ranges for record in told(opened.read_range(str(file), part))]
        assert found == told(opened.read_file(str(file)))
    file.write_bytes(b"")
    assert tfrecord.cut(str(file), 1) == [tfrecord.WHOLE]


def test_ranges_are_as_large_as_asked(own_data: Path) -> None:
    file = first_file(own_data)
    size = file.stat().st_size
    for least in (1, 20_000, size // 2, size, size + 1):
        starts = [part.offset for part in tfrecord.cut(str(file), least)]
        assert all(b - a >= least for a, b in zip(starts, [*starts[1:], size], strict=True) if len(starts) > 1)
    assert len(tfrecord.cut(str(file), 1)) == len(list(tfrecord.read_records(str(file))))


def test_files_below_the_limit_and_on_stores_are_not_cut(own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = rlds.open_raw(str(own_data / PLANAR))
    assert all(not part.digest for parts in sections_of(opened).values() for part in parts)
    cut_small(monkeypatch)
    assert len(sections_of(opened)["train"]) == 12
    monkeypatch.setattr("pipelines.recordings.rlds.is_local", lambda _: False)
    assert len(sections_of(opened)["train"]) == len(opened.splits["train"])


def rows(index: Path, kind: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(file) for file in sorted(index.glob(f"*/train/*.{kind}.parquet"))]
    found = pa.concat_tables(tables).to_pylist()
    return [{name: value for name, value in row.items() if name != "first_step"} for row in found]


@pytest.mark.parametrize("damage", ["none", "data", "length", "cut off", "gone"])
def test_an_index_of_cut_files_has_the_same_rows(
    own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    file = first_file(own_data)
    (_, second, *_) = [r.where for r in rlds.open_raw(str(file.parent)).read_file(str(file))]
    data = bytearray(file.read_bytes())
    if damage == "data":
        data[second.offset + 100] ^= 1
    elif damage == "length":
        data[second.offset] ^= 1
    elif damage == "cut off":
        del data[second.offset + 100 :]
    file.write_bytes(data)
    if damage == "gone":
        file.unlink()
    results = {}
    for name in ("whole", "cut"):
        if name == "cut":
            cut_small(monkeypatch)
        results[name] = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / name)), [])
        balanced(results[name])
    whole, cut = (results[name].datasets["tabletop_planar"].splits["train"] for name in ("whole", "cut"))
    assert (whole.read, whole.indexed, whole.rejected, whole.steps) == (cut.read, cut.indexed, cut.rejected, cut.steps)
    for kind in ("episodes", "steps", "rejected"):
        assert rows(tmp_path / "whole", kind) == rows(tmp_path / "cut", kind)
    assert (tmp_path / "whole/sources.arrow").read_bytes() == (tmp_path / "cut/sources.arrow").read_bytes()
    if damage == "none":
        run_build(BuildConfig("all", str(tmp_path / "shards"), 40, str(tmp_path / "cut"), "fit"), [])
