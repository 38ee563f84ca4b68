"""The raw reader against TFDS: random feature trees, written by TFDS and read by both, equal bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.episodes import BadRecord, Episode, open_episodes, rlds
from fasttok.episodes.tfds import flatten, keep_images, open_through_tfds, tfds
from tests.fasttok.array_records import to_array_record
from tests.fasttok.random_features import Maker, write, write_directory

STEPS = "steps"


def by_tfds(folder: Path, split: str) -> list[dict[str, Any]]:
    """Every record as flat names to values; below "steps/" to lists of a value a step."""
    module = tfds()
    builder = module.builder_from_directory(str(folder))
    decoders = keep_images(module, builder.info.features)
    found = []
    for record in builder.as_dataset(split=split, decoders=decoders, shuffle_files=False):
        values = dict(flatten({name: module.as_numpy(v) for name, v in record.items() if name != STEPS}))
        if STEPS in record:
            steps = [dict(flatten(step)) for step in module.as_numpy(record[STEPS])]
            values |= {f"{STEPS}/{name}": [step[name] for step in steps] for name in (steps[0] if steps else ())}
        found.append(values)
    return found


def same(mine: Any, theirs: Any, name: str) -> None:
    """Equal dtypes, shapes and bits, through any nesting."""
    if isinstance(theirs, list) or (isinstance(mine, list) and not isinstance(theirs, bytes)):
        assert len(mine) == len(theirs), name
        for a, b in zip(mine, theirs, strict=True):
            same(a, b, name)
    elif isinstance(theirs, bytes):
        assert mine == theirs, name
    else:
        a, b = np.asarray(mine), np.asarray(theirs)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes(), name


def compare(seed: int, folder: Path) -> int:
    """Values compared, over all splits, files and records of one random dataset."""
    path = write(seed, folder, episodes=seed % 2 == 0)
    directory = rlds.open_raw(str(path))
    count = 0
    for split, files in directory.splits.items():
        mine = [record for file in files for record in directory.read_examples(file)]
        theirs = by_tfds(path, split)
        assert len(mine) == len(theirs)
        for record, other in zip(mine, theirs, strict=True):
            assert not isinstance(record, BadRecord), record
            assert record[1].keys() == other.keys()
            for name, value in other.items():
                same(record[1][name], value, name)
                count += 1
    return count


@pytest.mark.parametrize("seed", range(8))
def test_random_features_equal_tfds(seed: int, tmp_path: Path) -> None:
    assert compare(seed, tmp_path) > 0


@pytest.mark.slow
@pytest.mark.parametrize("first", range(8, 248, 40))
def test_more_random_features_equal_tfds(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 40):
        assert compare(seed, tmp_path / str(seed)) > 0


def test_what_tfds_writes_but_cannot_read(tmp_path: Path) -> None:
    """Sequences of a fixed length that hold sequences, and encoded uint32: TFDS fails on its own files."""
    f, numbers = tfds().features, np.arange(6, dtype=np.uint32).reshape(2, 3)
    features = f.FeaturesDict(
        {
            "grid": f.Sequence(f.Sequence(np.int32), length=2),
            "packed": f.Tensor(shape=(None, None), dtype=np.uint32, encoding="zlib"),
        }
    )
    maker = Maker(0)
    maker.value = lambda feature: {"grid": [[1, 2], [3]], "packed": numbers}  # type: ignore[method-assign]
    path = write_directory(maker, features, tmp_path / "random" / "1.0.0")
    directory = rlds.open_raw(str(path))
    record = next(directory.read_examples(directory.splits["train"][0]))
    assert not isinstance(record, BadRecord)
    assert [row.tolist() for row in record[1]["grid"]] == [[1, 2], [3]]
    assert record[1]["packed"].dtype == np.uint32
    assert np.array_equal(record[1]["packed"], numbers)


def test_through_tfds_gives_the_same_episodes(tabletop: Path) -> None:
    path = str(tabletop / "tabletop_planar" / "1.0.0")
    raw, through = rlds.open_raw(path), open_through_tfds(path, "a test")
    assert raw.splits == through.splits
    assert raw.declared == through.declared
    for file in raw.splits["train"]:
        for a, b in zip(raw.read_file(file), through.read_file(file), strict=True):
            assert isinstance(a, Episode)
            assert isinstance(b, Episode)
            assert (a.where.file, a.where.number) == (b.where.file, b.where.number)
            assert a.steps.keys() == b.steps.keys()
            for name in a.steps:
                same(a.steps[name], b.steps[name], name)
            again = through.read_at(file, -1, -1, a.where.number)
            assert isinstance(again, Episode)
            same(again.steps["action"], a.steps["action"], "action")


def test_array_record_goes_through_tfds_and_says_so(
    tabletop: Path, own_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = rlds.open_raw(str(tabletop / "tabletop_planar" / "1.0.0"))
    to_array_record(own_data / "tabletop_planar" / "1.0.0")
    with caplog.at_level("WARNING", "fasttok"):
        theirs = list(open_episodes(str(own_data / "tabletop_planar" / "1.0.0")))
    assert "reading through TFDS" in caplog.text
    mine = [episode for file in raw.splits["train"] for episode in raw.read_file(file)]
    for a, b in zip(mine, theirs, strict=True):
        assert isinstance(a, Episode)
        assert a.steps.keys() == b.steps.keys()
        for name in a.steps:
            same(a.steps[name], b.steps[name], name)
