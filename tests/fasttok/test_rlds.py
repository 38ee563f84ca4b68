"""The raw RLDS reader against TFDS, and against damaged files."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from fasttok.episodes import BadRecord, Episode, open_episodes, rlds
from fasttok.episodes.tfrecord import FOOTER, HEADER, masked_crc
from fasttok.errors import InputError


def same_as_tfds(directory: Path, split: str, most: int | None = None) -> int:
    """Every number, text and image byte of a split equals what TFDS reads (images with SkipDecoding)."""
    from fasttok.episodes.tfds import read_split

    ours = iter(open_episodes(str(directory), split))
    count = 0
    for theirs in read_split(str(directory), split, stop=most):
        assert isinstance(theirs, Episode)
        mine = next(ours)
        assert mine.steps.keys() == theirs.steps.keys()
        for name, column in theirs.steps.items():
            if isinstance(column, list):
                assert mine.steps[name] == column, name
            else:
                assert np.asarray(mine.steps[name]).dtype == column.dtype, name
                assert np.array_equal(mine.steps[name], column), name
        for name, value in theirs.metadata.items():
            held = mine.metadata[name]
            assert np.array_equal(held.encode() if isinstance(held, str) else held, value), name
        count += 1
    if most is None:
        assert next(ours, None) is None
    return count


@pytest.mark.parametrize("name", ["tabletop_planar", "tabletop_arm"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_generated_data_equal_tfds(tabletop: Path, name: str, split: str) -> None:
    assert same_as_tfds(tabletop / name / "1.0.0", split) == (12 if split == "train" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bridge_dataset", "metaworld_mt50"])
def test_real_data_equal_tfds(shared_data: Path, name: str) -> None:
    directory = shared_data / "rlds" / name / "1.0.0"
    for split in rlds.open_directory(str(directory)).splits:
        assert same_as_tfds(directory, split, most=5) > 0


def first_file(data: Path) -> Path:
    return sorted((data / "tabletop_planar" / "1.0.0").glob("*train*tfrecord*"))[0]


def read(file: Path) -> list[Episode | BadRecord]:
    return list(rlds.open_directory(str(file.parent)).read_file(str(file)))


def test_truncated_file_is_reported_at_its_offset(own_data: Path) -> None:
    file = first_file(own_data)
    whole = read(file)
    file.write_bytes(file.read_bytes()[:-100])
    damaged = read(file)
    assert [type(r) for r in damaged] == [Episode] * (len(whole) - 1) + [BadRecord]
    bad = damaged[-1]
    assert isinstance(bad, BadRecord)
    assert bad.reason == "truncated"
    assert bad.where.offset == whole[-1].where.offset


def test_flipped_bit_costs_one_record(own_data: Path) -> None:
    file = first_file(own_data)
    whole = read(file)
    data = bytearray(file.read_bytes())
    data[HEADER + 500] ^= 1
    file.write_bytes(data)
    damaged = read(file)
    assert len(damaged) == len(whole)
    assert isinstance(damaged[0], BadRecord)
    assert damaged[0].reason == "crc"
    assert all(isinstance(r, Episode) for r in damaged[1:])


def test_huge_declared_length_does_not_allocate(own_data: Path) -> None:
    file = first_file(own_data)
    whole = len(read(file))
    data = bytearray(file.read_bytes())
    header = struct.pack("<Q", 1 << 60)
    data[:HEADER] = header + struct.pack("<I", masked_crc(header))
    file.write_bytes(data)
    bad, missing = read(file)
    assert isinstance(bad, BadRecord)
    assert bad.reason == "truncated"
    assert isinstance(missing, BadRecord)
    assert (missing.reason, missing.records) == ("missing", whole - 1)


def test_record_that_is_no_example_is_rejected(own_data: Path) -> None:
    file = first_file(own_data)
    rest = file.read_bytes()
    body = b"\xff" * 40
    head = struct.pack("<Q", len(body))
    record = head + struct.pack("<I", masked_crc(head)) + body + struct.pack("<I", masked_crc(body))
    assert len(record) == HEADER + len(body) + FOOTER
    file.write_bytes(record + rest)
    records = read(file)
    assert isinstance(records[0], BadRecord)
    assert all(isinstance(r, Episode) for r in records[1:])


def test_features_json_that_does_not_match(own_data: Path) -> None:
    directory = first_file(own_data).parent
    spec = directory / "features.json"
    spec.write_text(spec.read_text().replace('"dimensions": ["3"]', '"dimensions": ["4"]').replace('"3"', '"4"'))
    records = read(first_file(own_data))
    assert records
    assert all(isinstance(r, BadRecord) and r.reason == "features" for r in records)
    spec.write_text("{not json")
    with pytest.raises(InputError, match=r"features\.json"):
        rlds.open_directory(str(directory))
    spec.unlink()
    with pytest.raises(InputError, match="cannot tell what"):
        open_episodes(str(directory))


def test_a_lost_file_is_counted_and_named(own_data: Path) -> None:
    file = first_file(own_data)
    count = len(read(file))
    others = open_episodes(str(file.parent))
    whole = len(list(others))
    file.unlink()
    (bad,) = read(file)
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.records, bad.where.file) == ("missing", count, str(file))
    assert file.name in bad.detail
    with pytest.raises(InputError, match=rf"{file.name} is not there.*--skip-bad"):
        list(open_episodes(str(file.parent)))
    source = open_episodes(str(file.parent), skip_bad=True)
    assert len(list(source)) == whole - count
    assert sum(source.bad.values()) == count


def test_a_split_without_any_of_its_files_is_an_error(own_data: Path) -> None:
    file = first_file(own_data)
    for one in file.parent.glob("*train*tfrecord*"):
        one.unlink()
    with pytest.raises(
        InputError, match=rf"none of the \d+ files of split train is there, the first would be {file.name}"
    ):
        rlds.open_directory(str(file.parent))


def test_record_by_byte_range(tabletop: Path) -> None:
    file = first_file(tabletop)
    directory = rlds.open_directory(str(file.parent))
    for episode in directory.read_file(str(file)):
        assert isinstance(episode, Episode)
        again = directory.read_at(episode.where.file, episode.where.offset, episode.where.length)
        assert isinstance(again, Episode)
        assert np.array_equal(again.steps["action"], episode.steps["action"])
        assert again.steps["observation/image"] == episode.steps["observation/image"]


def test_npz_and_parquet_episodes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    action = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.savez(tmp_path / "a.npz", action=action, control_hz=5.0)
    (found,) = open_episodes(str(tmp_path / "a.npz"))
    assert np.array_equal(found.steps["action"], action)
    table = pa.table({"episode_index": [0] * 4 + [1] * 2, "action": list(action)})
    pq.write_table(table, tmp_path / "b.parquet")
    parts = list(open_episodes(str(tmp_path / "b.parquet")))
    assert [e.length for e in parts] == [4, 2]
    assert np.array_equal(parts[1].steps["action"], action[4:])
    with pytest.raises(InputError, match="does not exist"):
        open_episodes(str(tmp_path / "nothing"))
    (tmp_path / "c.npz").write_bytes(b"no zip")
    source = open_episodes(str(tmp_path / "c.npz"))
    assert list(source) == []
    assert sum(source.bad.values()) == 1
    np.savez(tmp_path / "d.npz", action=np.array([{"a": 1}], dtype=object))
    assert json.dumps(dict(source.bad))
    with pytest.raises(InputError, match="pickles are never opened"):
        list(open_episodes(str(tmp_path / "d.npz")))
