"""A record larger than what is allowed is a dead letter that says so; it is never read, and the rest of its file is."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fasttok.episodes import BadRecord, Episode, rlds, tfrecord
from fasttok.episodes.tfds import open_through_tfds
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.files import filesystem
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.vlm import json_stream
from pipelines.vlm.confined_folder import ConfinedFolder
from pipelines.vlm.record import RecordError
from tests.pipelines.indexing import PLANAR, balanced, first_file, rejected

HUGE = 1 << 28


def lengths(file: Path) -> list[int]:
    return [len(data) for _, data in tfrecord.read_records(str(file))]  # type: ignore[misc]


def with_huge(file: Path) -> None:
    """Puts a record of HUGE bytes, a hole in the file, between its first and its second."""
    data = file.read_bytes()
    first = 16 + struct.unpack("<Q", data[:8])[0]
    head = struct.pack("<Q", HUGE)
    with file.open("wb") as out:
        out.write(data[:first] + head + struct.pack("<I", tfrecord.masked_crc(head)))
        out.seek(HUGE + 4, 1)
        out.write(data[first:])


def test_a_huge_record_is_passed_over_unread(own_data: Path) -> None:
    file = first_file(own_data)
    whole = lengths(file)
    with_huge(file)
    tracemalloc.start()
    found = list(tfrecord.read_records(str(file), most=HUGE - 1))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < HUGE / 8
    bad = [record for record in found if isinstance(record, BadRecord)]
    assert [len(record[1]) for record in found if not isinstance(record, BadRecord)] == whole
    assert [(record.reason, record.where.number, record.where.length) for record in bad] == [("size", 1, HUGE + 16)]
    assert "268,435,456 bytes, more than 268,435,455" in bad[0].detail
    assert [
        record.reason for record in tfrecord.read_records(str(file), most=HUGE) if isinstance(record, BadRecord)
    ] == ["crc"]
    where = bad[0].where
    again = tfrecord.read_record(where.file, where.offset, where.length, where.number, most=HUGE - 1)
    assert isinstance(again, BadRecord)
    assert again.reason == "size"


def test_index_counts_it_and_goes_on(own_data: Path, tmp_path: Path) -> None:
    file = first_file(own_data)
    with_huge(file)
    info = own_data / PLANAR / "dataset_info.json"
    index = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"), max_record="64M"), [])
    balanced(index)
    counts = index.datasets["tabletop_planar"].splits["train"]
    assert counts.rejected == {"size": 1}
    assert counts.indexed == 12
    assert [row["reason"] for row in rejected(tmp_path / "index")] == ["size"]
    assert index.datasets["tabletop_planar"].entry.max_record == 64 << 20
    assert json.loads(info.read_text())


@pytest.mark.slow
def test_both_readers_leave_out_the_same(own_data: Path, tmp_path: Path) -> None:
    """TFDS has no limit of its own: it is not asked for what is too large."""
    path = own_data / PLANAR
    raw, through = rlds.open_raw(str(path)), open_through_tfds(str(path), "a test")
    file = raw.splits["train"][0]
    sizes = lengths(Path(file))
    limit = sorted(sizes)[1]  # of three records the largest is too large
    both = [list(opened.read_file(file, most=limit)) for opened in (raw, through)]
    kinds = [[type(record).__name__ for record in found] for found in both]
    assert kinds[0] == kinds[1] == ["BadRecord" if size > limit else "Episode" for size in sizes]
    for number, (one, other) in enumerate(zip(*both, strict=True)):
        assert (one.where.number, other.where.number) == (number, number)
        if isinstance(one, Episode) and isinstance(other, Episode):
            assert one.steps["action"].tobytes() == other.steps["action"].tobytes()  # type: ignore[union-attr]
        else:
            assert {record.reason for record in (one, other)} == {"size"}
    large = sizes.index(max(sizes))
    again = through.read_at(file, -1, -1, large, most=limit)
    assert isinstance(again, BadRecord)
    assert again.reason == "size"


def test_build_refuses_what_the_index_let_in(own_data: Path, tmp_path: Path) -> None:
    """The entry in the INDEX holds for `build`: one that was changed to allow less leaves rows out, and says so."""
    index = tmp_path / "index"
    run_index(IndexConfig((str(own_data / PLANAR),), str(index)), [])
    held = json.loads((index / "index.json").read_text())
    held["datasets"]["tabletop_planar"]["entry"]["max_record"] = sorted(lengths(first_file(own_data)))[1]
    (index / "index.json").write_text(json.dumps(held))
    (tmp_path / "mine.yaml").write_text("name: mine\nsources:\n  - {dataset: tabletop_planar, weight: 1}\n")
    out = tmp_path / "shards"
    run_build(BuildConfig(str(tmp_path / "mine.yaml"), str(out), 300, str(index), tokenizer="fit", shards=2), [])
    manifest = json.loads((out / "manifest.json").read_text())
    source = manifest["sources"]["tabletop_planar"]
    assert source["rejected"] > 0
    assert source["planned"] == source["written"] + source["rejected"]
    letters = [json.loads(line) for file in out.glob("rejected/*.jsonl") for line in file.read_text().splitlines()]
    assert {letter["reason"] for letter in letters} == {"size"}


@pytest.mark.parametrize("text", ["0", "-1", "1.5G", "12T", "big", "", "1 G"])
def test_a_limit_that_is_no_size_is_refused(own_data: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"--max-record .*: expected a number of bytes"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"), max_record=text), [])


@pytest.mark.parametrize("remote", [False, True])
def test_an_image_file_that_is_too_large_is_not_read(
    tmp_path: Path, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.vlm.confined_folder.MAX_BYTES", 1000)
    folder = "memory://max-record" if remote else str(tmp_path)
    fs, root = filesystem(folder)
    for name, size in (("empty.jpg", 0), ("fits.jpg", 1000), ("large.jpg", 1001)):
        fs.pipe_file(f"{root}/{name}", b"x" * size)
    asked: list[Any] = []
    read = type(fs).cat_file

    def counted(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        asked.append(end)
        return bytes(read(self, path, start, end))

    monkeypatch.setattr(type(fs), "cat_file", counted)
    place = ConfinedFolder(folder)
    assert [len(place.read(name)) for name in ("empty.jpg", "fits.jpg")] == [0, 1000]
    with pytest.raises(RecordError, match="more than 1,000"):
        place.read("large.jpg")
    assert asked == ([1001] * 3 if remote else [None] * 2)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_an_element_of_an_array_that_is_too_large_costs_only_itself(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the file was lost."""
    monkeypatch.setattr(json_stream, "BLOCK", block)
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 100)
    large: list[Any] = [
        "x" * 99,
        {"a": 'x"]}\\' * 50, "b": [[{}]] * 20},
        [["]" * 7] * 30],
        '\\\\"' * 60,
        {"ü": "é\\" * 80},
    ]
    small: list[Any] = [{"a": 1}, {"b": '[{"\\'}, [], "", {}]
    file = tmp_path / "a.json"
    values = [value for pair in zip(large, small, strict=True) for value in pair]
    for text in (json.dumps(values), json.dumps(values, ensure_ascii=False, indent=3), json.dumps({"rows": values})):
        file.write_text(text)
        found = list(json_stream.walk(str(file)))
        assert [element.value for element in found] == [None if value in large else value for value in values]
        assert [bool(element.problem) for element in found] == [value in large for value in values]
        assert all("more than 100" in element.problem for element in found if element.problem)
        data = file.read_bytes()
        for element in found:
            where = element.where
            held = json.loads(data[where.offset : where.offset + where.length])
            assert held == values[where.number]
    file.write_text(json.dumps(values)[:-200])
    with pytest.raises(json_stream.BrokenJsonError):
        list(json_stream.walk(str(file)))
