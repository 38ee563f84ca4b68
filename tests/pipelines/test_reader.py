"""The reader: one global order, cut by rank, resumed anywhere, in exact low-discrepancy shares."""

from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.shards import ReadState, ShardReader
from pipelines.shards.permute import permute
from tests.chain import Chain


def ids(batches: Any) -> list[str]:
    return [i for batch in batches for i in batch.columns["sample_id"]]


@pytest.fixture
def reader(chain: Chain) -> ShardReader:
    return ShardReader(str(chain.shards))


def test_an_epoch_is_each_row_once(reader: ShardReader) -> None:
    first = ids(reader.batches(64, epochs=1))
    assert len(first) == len(set(first)) == 700
    assert set(first) == {reader.row(i)["sample_id"] for i in range(700)}
    two = ids(reader.batches(64, epochs=2))
    assert two[:700] == first
    assert sorted(two[700:]) == sorted(first)
    assert two[700:] != first  # another order in each epoch
    assert ids(reader.batches(64, epochs=1, seed=1)) != first


def test_resume_continues_to_the_sample(reader: ShardReader) -> None:
    whole = ids(reader.batches(50, epochs=2))
    for stop in (1, 7, 20):
        iterator = reader.batches(50, epochs=2)
        head = [next(iterator) for _ in range(stop)]
        state = ReadState.from_json(head[-1].state.to_json())
        assert ids(head) + ids(reader.batches(50, state=state, epochs=2)) == whole


@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_share_one_order(reader: ShardReader, world: int) -> None:
    whole = [ids([batch]) for batch in reader.batches(50, epochs=1)]
    parts = [[ids([b]) for b in reader.batches(50, rank=rank, world=world, epochs=1)] for rank in range(world)]
    assert [[sample for part in step for sample in part] for step in zip(*parts, strict=True)] == whole


def test_every_window_is_near_the_shares(reader: ShardReader) -> None:
    sources = [s for batch in reader.batches(100, epochs=1) for s in batch.columns["source"]]
    for name, source in reader.manifest.sources.items():
        share = source.written / 700
        for start in range(0, 600, 17):
            count = sources[start : start + 100].count(name)
            assert abs(count - 100 * share) <= 1 + 2 * share


def test_other_weights_at_reading(reader: ShardReader) -> None:
    weights = {"tabletop_vqa": 3.0, "tabletop_planar": 1.0}
    iterator = reader.batches(400, weights=weights)
    sources = next(iterator).columns["source"]
    assert (sources.count("tabletop_vqa"), sources.count("tabletop_planar")) == (300, 100)
    with pytest.raises(InputError, match="tabletop_vqa"):
        next(reader.batches(8, weights={"tabletop_vqaa": 1.0}))


def test_wrong_use_is_refused(reader: ShardReader) -> None:
    with pytest.raises(InputError, match="multiple of the ranks"):
        reader.batches(10, world=3)
    with pytest.raises(InputError, match="other shards"):
        reader.batches(10, state=ReadState("0" * 64, 20))
    for epochs in (0, -1, 0.5):
        with pytest.raises(InputError, match="epochs is"):
            reader.batches(10, epochs=epochs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="columns is empty"):
        reader.batches(10, columns=[])
    with pytest.raises(IndexError):
        reader.row(700)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 256, 1000])
def test_permutations_are_bijections(size: int) -> None:
    for epoch in range(3):
        assert sorted(permute(np.arange(size), size, 11, epoch).tolist()) == list(range(size))
