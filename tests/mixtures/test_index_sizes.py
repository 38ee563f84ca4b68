"""What a source holds: filters count what they leave out, groups are neighbours, and nothing is lost between them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.errors import InputError
from mixtures.index_sizes import GROUP_FRAMES, group, hashed_place, read_holding
from mixtures.spec import Source, SourceFilters

EPISODES = [(50, "pick the red block", ["primary"]), (4, "push", ["primary", "wrist"]), (3, "", ["primary"]),
            (40, "pick the blue block", ["primary", "wrist"]), (0, "empty", ["primary"])]  # fmt: skip


DATA = "/data/d"


def write(folder: Path, files: int = 2) -> list[str]:
    stems = [f"f{i}" for i in range(files)]
    (folder / "d" / "train").mkdir(parents=True)
    for stem in stems:
        rows = [
            {
                "steps": n,
                "language": text,
                "cameras": slots,
                "image_bytes": 10 * n,
                "target": "ab",
                "file": f"{DATA}/{stem}",
                "id": str(i),
                "image": "",
            }
            for i, (n, text, slots) in enumerate(EPISODES)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "d" / "train" / f"{stem}.episodes.parquet")
    return stems


@given(st.lists(st.integers(0, 90), max_size=80), st.data())
def test_groups_are_neighbours_and_hold_everything(steps: list[int], data: st.DataObject) -> None:
    kept = np.array([data.draw(st.booleans()) for _ in steps], bool)
    rows = np.flatnonzero(kept)
    lengths = np.array(steps, np.int64)[rows]
    first, records, frames = group(rows, lengths)
    covered = [row for a, n in zip(first.tolist(), records.tolist(), strict=True) for row in range(a, a + n)]
    assert covered == [row for row, n in zip(rows.tolist(), lengths.tolist(), strict=True) if n]
    assert frames.sum() == lengths.sum()
    for a, n, total in zip(first.tolist(), records.tolist(), frames.tolist(), strict=True):
        own = np.array(steps[a : a + n])
        assert own.sum() == total
        assert n == 1 or own[:-1].sum() < GROUP_FRAMES  # all begin within the same 32 frames


def test_groups_stay_within_a_source_file(tmp_path: Path) -> None:
    """A table holds several source files; the plan is that of tables with one each."""
    stems = write(tmp_path)
    apart = read_holding(str(tmp_path), Source("d", "d"), stems, DATA)
    tables = [pq.read_table(tmp_path / "d" / "train" / f"{stem}.episodes.parquet") for stem in stems]
    pq.write_table(pa.concat_tables(tables), tmp_path / "d" / "train" / "both.episodes.parquet")
    both = read_holding(str(tmp_path), Source("d", "d"), ["both"], DATA)
    assert both.frames.tolist() == apart.frames.tolist()
    assert both.records.tolist() == apart.records.tolist()
    assert both.row.tolist() == (apart.row + apart.file * tables[0].num_rows).tolist()
    assert set(both.file.tolist()) == {0}


def test_all_records_without_filters(tmp_path: Path) -> None:
    found = read_holding(str(tmp_path), Source("d", "d"), write(tmp_path), DATA)
    assert found.total == 2 * 97
    assert found.image_bytes == 2 * 970
    assert found.records.sum() == 8  # the empty ones have no frame
    assert set(found.file.tolist()) == {0, 1}
    assert found.left_out == {}


def test_parts_are_disjoint_and_all(tmp_path: Path) -> None:
    """Two parts share no record and leave none out, whatever the folder is called."""
    stems = write(tmp_path, files=40)
    parts = [
        read_holding(str(tmp_path), Source("d", "d", filters=SourceFilters(part=p)), stems, DATA)
        for p in ((0.0, 0.7), (0.7, 1.0))
    ]
    assert sum(p.total for p in parts) == 40 * 97
    taken = [
        {
            (f, r + i)
            for f, r, n in zip(p.file.tolist(), p.row.tolist(), p.records.tolist(), strict=True)
            for i in range(n)
        }
        for p in parts
    ]
    assert not taken[0] & taken[1]
    assert len(taken[0] | taken[1]) == 160
    assert 0.6 < len(taken[0]) / 160 < 0.8
    assert hashed_place("x.tfrecord", "7") == 0.1596942891768265  # as every version before


def test_files_of_one_name_are_divided_by_their_folders_wherever_these_are(tmp_path: Path) -> None:
    """As in DROID's droid/N/trajectory.h5, each with one episode."""
    taken = []
    for place in ("/data/droid", "gs://bucket/droid"):
        folder = tmp_path / place.replace("/", "_")
        (folder / "d" / "train").mkdir(parents=True)
        rows = [
            {
                "steps": 1,
                "image_bytes": 0,
                "target": "",
                "file": f"{place}/{n}/trajectory.h5",
                "id": "0",
                "image": "",
            }
            for n in range(200)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "d" / "train" / "t.episodes.parquet")
        parts = [
            read_holding(str(folder), Source("d", "d", filters=SourceFilters(part=part)), ["t"], place)
            for part in ((0.0, 0.7), (0.7, 1.0))
        ]
        assert sum(part.total for part in parts) == 200
        assert 0.6 < parts[0].total / 200 < 0.8
        taken.append([part.row.tolist() for part in parts])
    assert taken[0] == taken[1]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_questions_about_an_image_are_in_one_part(repeated: bool, old: bool, tmp_path: Path) -> None:
    """As the turns of a conversation and the captions of a picture; the images are files, or repeated in rows of Parquet files.

    An INDEX of 0.1.0 has no checksums; then images of one size are in one part.
    """
    (tmp_path / "d" / "train").mkdir(parents=True)
    rows = [
        {"steps": 1, "image_bytes": 1000 + n, "target": "", "file": f"{DATA}/a.json", "id": f"{n}/{turn}",
         "image": f"{turn}.parquet" if repeated else f"{n}.jpg"} | ({} if old else {"checksum": 7 * n})
        for n in range(200) for turn in range(5)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d" / "train" / "t.episodes.parquet")
    parts = [
        read_holding(str(tmp_path), Source("d", "d", filters=SourceFilters(part=part)), ["t"], DATA)
        for part in ((0.0, 0.7), (0.7, 1.0))
    ]
    taken = [
        {(row + i) // 5 for row, n in zip(part.row.tolist(), part.records.tolist(), strict=True) for i in range(n)}
        for part in parts
    ]
    assert sum(part.total for part in parts) == 1000
    assert not taken[0] & taken[1]
    assert 120 < len(taken[0]) < 160


@pytest.mark.parametrize(
    ("filters", "frames", "left_out"),
    [
        (SourceFilters(min_steps=4), 188, {"min_steps": 4}),
        (SourceFilters(max_steps=40), 94, {"max_steps": 2}),
        (SourceFilters(language=True), 188, {"language": 2}),
        (SourceFilters(matches="(?i)BLOCK"), 180, {"matches": 6}),
        (SourceFilters(excludes="red|blue"), 14, {"excludes": 4}),
        (SourceFilters(cameras=("wrist",)), 88, {"cameras": 6}),
        (
            SourceFilters(min_steps=4, matches="pick", cameras=("wrist",)),
            80,
            {"min_steps": 4, "matches": 2, "cameras": 2},
        ),
        (SourceFilters(matches="pick", records=2), 100, {"matches": 6, "records": 2}),
    ],
)
def test_filters_count_what_they_leave_out(
    tmp_path: Path, filters: SourceFilters, frames: int, left_out: dict[str, int]
) -> None:
    found = read_holding(str(tmp_path), Source("d", "d", filters=filters), write(tmp_path), DATA)
    assert (found.total, found.left_out) == (frames, left_out)


@given(st.integers(1, 12), st.integers(1, 4))
def test_records_are_evenly_spread_and_exact(records: int, files: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source = Source("d", "d", filters=SourceFilters(records=records))
        found = read_holding(folder, source, write(Path(folder), files), DATA)
        total = 5 * files
        kept = min(records, total)
        assert found.left_out.get("records", 0) == total - kept


def test_a_pattern_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a pattern"):
        read_holding(str(tmp_path), Source("d", "d", filters=SourceFilters(matches="(")), write(tmp_path), DATA)
    with pytest.raises(InputError, match="missing or damaged"):
        read_holding(str(tmp_path), Source("d", "d"), ["nothing"], DATA)
