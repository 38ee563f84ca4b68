"""Sources that change after `index` are noticed by `build`; copies of them are not taken for changes."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.episodes.tfrecord import FOOTER, HEADER, frame_words, masked_crc
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.source_stamp import PIECE, PIECES, SourceStamp, difference, stamp_file, stamp_files, with_contents
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.shards import ShardReader
from tests.chain import MIXTURE, Chain
from tests.pipelines.indexing import PLANAR, first_file, rewrite

HOUR = 3600 * 10**9


def indexed(own_data: Path, chain: Chain, folder: Path) -> Path:
    """An INDEX of all four datasets, of data of the test's own."""
    directories = tuple(d.replace(str(chain.data), str(own_data)) for d in chain.datasets)
    run_index(IndexConfig(directories, str(folder / "index")), [])
    return folder / "index"


def build(chain: Chain, index: Path, out: Path, **more: Any) -> ShardReader:
    run_build(BuildConfig(MIXTURE, str(out), 200, str(index), str(chain.tokenizer), shards=2, **more), [])
    return ShardReader(str(out))


def compared(stamp: SourceStamp, file: str) -> tuple[str, str] | None:
    return difference(stamp, file, stamp_files([file])[file])


def later(file: Path) -> None:
    """Gives a file another time."""
    os.utime(file, ns=(file.stat().st_atime_ns + HOUR, file.stat().st_mtime_ns + HOUR))


def new_actions(feature: Any) -> None:
    values = feature["steps/action"].float_list.value
    for i, value in enumerate(list(values)):
        values[i] = -value


def rewrite_last(file: Path, change: Callable[[Any], None]) -> None:
    """As `rewrite`, of the last record."""
    data, start, stop = file.read_bytes(), 0, 0
    while stop < len(data):
        start, stop = stop, stop + HEADER + struct.unpack("<Q", data[stop : stop + 8])[0] + FOOTER
    part = file.with_name("part")
    part.write_bytes(data[start:])
    rewrite(part, change)
    file.write_bytes(data[:start] + part.read_bytes())
    part.unlink()


@pytest.mark.parametrize("change", [rewrite, rewrite_last])
@pytest.mark.parametrize("resume", [False, True])
def test_new_actions_at_the_same_offsets(
    own_data: Path, chain: Chain, tmp_path: Path, change: Callable[..., None], resume: bool
) -> None:
    index, file = indexed(own_data, chain, tmp_path), first_file(own_data)
    if resume:
        build(chain, index, tmp_path / "shards")
        (tmp_path / "shards" / "manifest.json").unlink()
    size = file.stat().st_size
    change(file, new_actions)
    assert file.stat().st_size == size
    with pytest.raises(
        InputError, match=r"changed since it was indexed: .* contains contents frames .*of the same size.*index` again"
    ) as error:
        build(chain, index, tmp_path / "shards", resume=resume)
    assert str(error.value).startswith(str(file))
    assert resume or not (tmp_path / "shards").exists()


def test_copies_and_touched_files_are_the_same(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    index = indexed(own_data, chain, tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(own_data, copy, copy_function=shutil.copyfile)  # as `rsync` without `-t`: other times, other inodes
    shutil.rmtree(own_data)
    shutil.copytree(copy, own_data, copy_function=shutil.copyfile)
    for file in own_data.rglob("*"):
        if file.is_file():
            later(file)
    manifest = build(chain, index, tmp_path / "shards").manifest
    assert manifest.counts.written == manifest.counts.planned == 200


@pytest.mark.parametrize(
    ("name", "found"),
    [("tabletop_vqa/train.jsonl", "contents bytes"), (PLANAR + "/features.json", "bytes")],
)
def test_other_files_of_a_dataset(own_data: Path, chain: Chain, tmp_path: Path, name: str, found: str) -> None:
    index = indexed(own_data, chain, tmp_path)
    file = own_data / name
    text = file.read_text()
    at = text.index('"', len(text) // 2) + 1  # of the same size: a letter in the middle
    file.write_text(text[:at] + "_" + text[at + 1 :] if found.startswith("contents") else text + " ")
    later(file)
    with pytest.raises(InputError, match=rf"{name} changed since it was indexed: .* contains .*{found}"):
        build(chain, index, tmp_path / "shards")


def test_a_file_that_is_gone(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    index, file = indexed(own_data, chain, tmp_path), first_file(own_data)
    file.unlink()
    (own_data / "tabletop_vqa" / "train.jsonl").unlink()
    with pytest.raises(
        InputError, match=r"contains a file of [\d,]+ bytes, found none \(1 more files of \d+ changed, too\)"
    ):
        build(chain, index, tmp_path / "shards")


def test_an_image_of_the_same_size(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    """Images are too many to ask for each before a plan; each that is read is compared."""
    index = indexed(own_data, chain, tmp_path)
    for image in (own_data / "tabletop_vqa" / "images").rglob("*.jpg"):
        data = bytearray(image.read_bytes())
        data[-3] ^= 1
        image.write_bytes(data)
    build(chain, index, tmp_path / "shards")
    manifest = ShardReader(str(tmp_path / "shards")).manifest
    assert manifest.sources["tabletop_vqa"].rejected == manifest.sources["tabletop_vqa"].planned > 0
    letters = [
        json.loads(line)
        for f in (tmp_path / "shards" / "rejected").glob("*.jsonl")
        for line in f.read_text().splitlines()
    ]
    assert {letter["reason"] for letter in letters} == {"changed"}
    assert "the INDEX says" in letters[0]["detail"]


def test_a_record_that_changes_after_the_plan_is_a_dead_letter(
    own_data: Path, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = indexed(own_data, chain, tmp_path)
    rewrite(first_file(own_data), new_actions)
    monkeypatch.setattr("pipelines.builder.run.check_sources", lambda wanted, index: None)
    manifest = build(chain, index, tmp_path / "shards").manifest
    assert manifest.sources["tabletop_planar"].rejected > 0
    assert manifest.counts.planned == manifest.counts.written + manifest.counts.rejected


def test_an_index_of_an_earlier_version_says_that_it_has_no_stamps(
    own_data: Path, chain: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = indexed(own_data, chain, tmp_path)
    (index / "sources.arrow").unlink()
    for file in index.glob("*/*/*.episodes.parquet"):
        pq.write_table(pq.read_table(file).drop_columns(["checksum"]), file)
    with caplog.at_level("WARNING", "pipelines"):
        assert build(chain, index, tmp_path / "shards").manifest.counts.written == 200
    assert "nothing tells whether its source files have changed" in caplog.text


def test_what_a_store_says_decides() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/stamps/a", b"one")
    stamp = stamp_file("memory://stamps/a")
    assert (stamp.size, stamp.version) == (3, "")
    full = with_contents(stamp, "memory://stamps/a", records=True)
    store.pipe("/stamps/a", b"one")
    assert compared(full, "memory://stamps/a") is None  # another time, the same contents
    store.pipe("/stamps/a", b"two")
    held, found = compared(full, "memory://stamps/a") or ("", "")
    assert held.startswith("contents ends ")
    assert found.endswith("of the same size")
    assert compared(replace(full, size=4), "memory://stamps/a") == ("4 bytes", "3 bytes")
    store.rm("/stamps", recursive=True)


@pytest.mark.parametrize("key", ["ETag", "generation", "crc32c"])
def test_versions_come_before_times(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/stamps/b", b"one")
    info: dict[str, Any] = {"size": 3, key: "x", "LastModified": "Monday"}
    monkeypatch.setattr(type(store), "info", lambda self, path, **_: info)
    stamp = with_contents(stamp_file("memory://stamps/b"), "memory://stamps/b", records=True)
    assert stamp == SourceStamp(3, f"{key}=x", "Monday", "")
    info["LastModified"] = "Tuesday"
    assert compared(stamp, "memory://stamps/b") is None
    info[key] = "y"
    assert compared(stamp, "memory://stamps/b") == (f"{key}=x", f"{key}=y")
    monkeypatch.undo()
    store.rm("/stamps", recursive=True)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_any_changed_record_changes_the_words_around_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    def framed(every: list[bytes]) -> bytes:
        out = b""
        for record in every:
            head = struct.pack("<Q", len(record))
            out += head + struct.pack("<I", masked_crc(head)) + record + struct.pack("<I", masked_crc(record))
        return out

    file = tmp_path_factory.mktemp("frames") / "a"
    file.write_bytes(framed(records))
    before = list(frame_words(str(file)))
    assert sum(map(len, before)) == len(records) * (HEADER + FOOTER)
    other = [*records]
    at = data.draw(st.integers(0, len(records) - 1))
    other[at] = data.draw(st.binary(max_size=40))
    file.write_bytes(framed(other))
    assert (list(frame_words(str(file))) == before) == (other == records)
    file.write_bytes(data.draw(st.binary(max_size=60)))  # what is no TFRecord ends it
    list(frame_words(str(file)))


def test_large_files_are_looked_at_in_pieces(tmp_path: Path) -> None:
    file, size = tmp_path / "large", PIECE * PIECES + 12345
    with file.open("wb") as stream:
        stream.truncate(size)
    stamp = with_contents(stamp_file(str(file)), str(file), records=False)
    for place, noticed in ((0, True), (size - 1, True), (2 * PIECE, True), (PIECE + 2, False)):
        with file.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"x")
        later(file)
        assert (compared(stamp, str(file)) is not None) == noticed
        with file.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"\0")
        assert compared(stamp, str(file)) is None
