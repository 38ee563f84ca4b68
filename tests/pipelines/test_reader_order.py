"""The orders: each row once an epoch, resumed at any sample by any number of ranks, near the weights in every window."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.errors import InputError
from mixtures.quota import interleave, positions, sequence
from pipelines.shards import ReadState, ShardReader
from pipelines.shards.manifest import Shard
from pipelines.shards.order import BlockOrder, GlobalOrder, StorageLayout, alternate
from pipelines.shards.schedule import Phase, Schedule, drawn, rank_bound, window_bound
from tests.pipelines.made_shards import NAMES, make_shards

COUNTS = [[300, 20, 7], [0, 513, 1], [256, 256, 0], [90, 0, 0], [1, 2, 3]]
WEIGHTS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


def layout(counts: list[list[int]]) -> StorageLayout:
    """Of shards that are nowhere: orders read nothing."""
    shards = tuple(Shard(str(i), sum(row), tuple(row), 0, "") for i, row in enumerate(counts))
    return StorageLayout(NAMES[: len(counts[0])], shards)


COUNT_TABLES = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 600), min_size=k, max_size=k), min_size=1, max_size=6).filter(
        lambda rows: any(map(any, rows))
    )
)


def block(counts: list[list[int]], seed: int = 0, window: int = 2, pool: int = 2) -> BlockOrder:
    return BlockOrder(layout(counts), seed, window, pool)


@given(COUNT_TABLES, st.integers(0, 3), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=60)
def test_an_epoch_is_each_row_once_in_both_modes(counts: list[list[int]], seed: int, window: int, pool: int) -> None:
    place = layout(counts)
    every = [(s, r) for s, row in enumerate(counts) for r in range(sum(row))]
    for order in (
        GlobalOrder(place, Schedule.as_stored(place.source_rows), seed),
        BlockOrder(place, seed, window, pool),
    ):
        epochs = []
        for epoch in range(2):
            shard, row = order.rows(epoch * place.total, (epoch + 1) * place.total)
            epochs.append(list(zip(shard.tolist(), row.tolist(), strict=True)))
            assert sorted(epochs[-1]) == every
        assert epochs[0] != epochs[1] or place.total < 100  # small ones may repeat by chance


@given(COUNT_TABLES, st.data())
@settings(max_examples=60)
def test_orders_are_random_access(counts: list[list[int]], data: Any) -> None:
    place = layout(counts)
    end = 3 * place.total
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(counts[0]), max_size=len(counts[0])))
    held = np.where(place.source_rows > 0, weights, 0)
    for make in (
        lambda: GlobalOrder(place, Schedule.as_stored(place.source_rows), 1),
        lambda: GlobalOrder(place, Schedule([0, 7, 50], [held, place.source_rows, held]), 1),
        lambda: BlockOrder(place, 1, 2, 3),
    ):
        whole = np.stack(make().rows(0, end))
        order = make()
        for _ in range(4):
            start = data.draw(st.integers(0, end))
            stop = data.draw(st.integers(start, end))
            assert (np.stack(order.rows(start, stop)) == whole[:, start:stop]).all()


@given(COUNT_TABLES)
@settings(max_examples=40)
def test_rows_lie_where_the_shards_hold_them(counts: list[list[int]]) -> None:
    place = layout(counts)
    for s, row in enumerate(counts):
        source = place.sources(s)
        assert np.bincount(source, minlength=len(row)).tolist() == row
        for i in np.flatnonzero(row).tolist():
            of = np.flatnonzero(source == i)
            before = int(place.ends[s, i] - row[i])
            shard, inside = place.locate(np.full(len(of), i), before + np.arange(len(of)))
            assert (shard == s).all()
            assert inside.tolist() == of.tolist() == positions(row, np.full(len(of), i), np.arange(len(of))).tolist()


def ids(batches: Any) -> list[str]:
    return [i for batch in batches for i in batch["sample_id"]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "shards"
    make_shards(folder, COUNTS)
    return folder


@pytest.mark.parametrize("mode", ["global", "block"])
def test_ranks_may_change_at_every_checkpoint(shards: Path, mode: Any) -> None:
    """8 -> 3 -> 16 ranks at a global batch of 240, over three epochs: the order is that of one undisturbed reader."""
    whole = ids(ShardReader(str(shards)).batches(240, mode, epochs=3, window=2, pool=2))
    assert len(whole) == 3 * 1449
    state, got = None, []
    for world, steps in ((8, 4), (3, 5), (16, 100)):
        ranks = [
            ShardReader(str(shards)).batches(
                240, mode, state=state, rank=rank, world=world, epochs=3, window=2, pool=2, workers=rank % 2
            )
            for rank in range(world)
        ]
        for _ in range(steps):
            parts = [next(iterator, None) for iterator in ranks]
            if parts[0] is None:
                break
            assert len({part.state for part in parts if part is not None}) == 1
            got += ids(part for part in parts if part is not None)
            state = ReadState.from_json(parts[0].state.to_json())
    assert got == whole
    for epoch in range(3):
        assert len(set(got[epoch * 1449 : (epoch + 1) * 1449])) == 1449


@given(st.sampled_from(["global", "block"]), st.data())
@settings(max_examples=25)
def test_any_batch_sizes_and_ranks_give_one_order(shards: Path, mode: Any, data: Any) -> None:
    reader = ShardReader(str(shards))
    options: dict[str, Any] = {"epochs": 2, "columns": ["sample_id"], "window": 2, "pool": 2}
    whole = ids(reader.batches(1449, mode, **options))
    at, got = 0, []
    state = ReadState(reader.digest, 0)
    while at < len(whole):
        world = data.draw(st.integers(1, 9))
        n = world * data.draw(st.integers(20, 200))
        parts = [next(reader.batches(n, mode, state=state, rank=r, world=world, **options)) for r in range(world)]
        got += ids(parts)
        state, at = parts[0].state, len(got)
    assert got == whole


def test_resuming_reads_nothing_of_what_was_consumed(shards: Path) -> None:
    for mode in ("global", "block"):
        reader = ShardReader(str(shards))
        with patch.object(reader, "take", side_effect=reader.take) as take:
            next(reader.batches(10, mode, state=ReadState(reader.digest, 10**9 + 7)))
        assert take.call_count == 1
        assert len(take.call_args.args[0]) == 10


def test_block_mode_opens_few_shards_and_reads_batches_once(shards: Path) -> None:
    place, order = layout(COUNTS), block(COUNTS)
    shard, row = order.rows(0, place.total)
    batch = shard * 1000 + row // 256
    changes = np.flatnonzero(np.diff(batch) != 0)
    assert len(changes) > 100  # record batches are mixed
    for b in np.unique(batch):  # and each one's rows lie within one pool of two
        at = np.flatnonzero(batch == b)
        assert at[-1] - at[0] < 2 * 256
    begin = 0
    while begin < place.total:
        end = order.window_end(begin)
        assert set(shard[begin:end]) == set(order.window_shards(begin).tolist())
        assert len(order.window_shards(begin)) <= 2
        begin = end


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.data())
@settings(max_examples=40)
def test_pools_of_block_mode_keep_their_mixture(counts: list[int], data: Any) -> None:
    place = layout([[c * 8 for c in counts]])
    order = BlockOrder(place, 0, 1, 64)
    _, row = order.rows(0, place.total)
    source = place.sources(0)[row]
    start = data.draw(st.integers(0, place.total - 1))
    stop = data.draw(st.integers(start, place.total))
    share = np.array(counts) / sum(counts)
    off = np.abs(np.bincount(source[start:stop], minlength=len(counts)) - share * (stop - start))
    assert (off <= window_bound(counts) + 1e-9).all()


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_one_sort_alternates_as_exact_integers_do(counts: list[int]) -> None:
    assert alternate(np.array(counts)).tolist() == interleave(counts).tolist()


@given(WEIGHTS, st.integers(0, 500))
def test_drawn_counts_the_sequence(weights: list[int], n: int) -> None:
    assert drawn(weights, n).tolist() == np.bincount(sequence(weights, 0, n)[0], minlength=len(weights)).tolist()


@given(WEIGHTS, st.integers(0, 5000), st.integers(1, 1000))
def test_every_window_of_the_order_keeps_the_bound(weights: list[int], start: int, length: int) -> None:
    schedule = Schedule([0], [weights])
    counts = np.bincount(schedule.sequence(start, start + length)[0], minlength=len(weights))
    assert (
        np.abs(counts - schedule.expected(start, start + length)) <= schedule.bound(start, start + length) + 1e-9
    ).all()


@given(WEIGHTS, st.integers(1, 9), st.integers(1, 40), st.integers(0, 4000), st.integers(1, 1000), st.data())
def test_every_window_of_a_rank_keeps_its_bound(
    weights: list[int], world: int, m: int, start: int, length: int, data: Any
) -> None:
    n, rank = world * m, data.draw(st.integers(0, world - 1))
    own = np.arange(start, start + length)
    at = own // m * n + rank * m + own % m
    source = Schedule([0], [weights]).sequence(int(at[0]), int(at[-1]) + 1)[0][at - at[0]]
    share = np.array(weights) / sum(weights)
    off = np.abs(np.bincount(source, minlength=len(weights)) - share * length)
    assert (off <= rank_bound(weights, length, n, world) + 1e-9).all()


def test_the_bound_of_a_rank_is_attained() -> None:
    """A period of 256 and a batch of 256: one rank holds the rare source in every step, the others never."""
    source = Schedule([0], [[1, 255]]).sequence(0, 256 * 40)[0].reshape(40, 8, 32)
    per_rank = (source == 0).sum(axis=2)
    assert sorted(per_rank.sum(axis=0).tolist()) == [0] * 7 + [40]


@given(st.lists(WEIGHTS.map(lambda w: (w * 6)[:3]).filter(any), min_size=2, max_size=4), st.data())
def test_a_curriculum_follows_each_phase(tables: list[list[int]], data: Any) -> None:
    starts = [0, *sorted(data.draw(st.sets(st.integers(1, 900), min_size=len(tables) - 1, max_size=len(tables) - 1)))]
    schedule = Schedule(starts, tables)
    source, draw = schedule.sequence(0, 1200)
    for begin, end, weights in zip(starts, [*starts[1:], 1200], tables, strict=True):
        assert source[begin:end].tolist() == sequence(weights, 0, end - begin)[0].tolist()
    for i in range(3):  # a source's draws go on over phases, so its rows are walked once before any comes again
        assert draw[source == i].tolist() == list(range(int((source == i).sum())))
    start = data.draw(st.integers(0, 1199))
    stop = data.draw(st.integers(start, 1200))
    off = np.abs(np.bincount(source[start:stop], minlength=3) - schedule.expected(start, stop))
    assert (off <= schedule.bound(start, stop) + 1e-9).all()


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=2, max_size=4).filter(
        lambda t: all(map(any, t))
    ),
    st.data(),
)
def test_shards_built_with_a_curriculum_follow_it(planned: list[list[int]], data: Any) -> None:
    table = np.array(planned)
    held = np.array([data.draw(st.integers(0, int(n))) for n in table.sum(axis=0)])
    if not held.any():
        return
    schedule = Schedule.as_stored(held, planned)
    total = int(held.sum())
    source, draw = schedule.sequence(0, total)
    assert np.bincount(source, minlength=3).tolist() == held.tolist()  # one epoch: each row once
    for i in range(3):
        assert sorted(draw[source == i].tolist()) == list(range(held[i]))
    ends = [*schedule.starts[1:].tolist(), total]
    phases = [np.bincount(source[a:b], minlength=3) for a, b in zip(schedule.starts.tolist(), ends, strict=True)]
    asked = [held * row / np.maximum(table.sum(axis=0), 1) for row in table]
    near = [row for row in asked if row.sum() > 3]  # others may have been rounded away
    assert len(phases) >= len(near)
    if len(phases) == len(asked):
        assert (np.abs(np.array(phases) - np.array(asked)) <= 1).all()
    later = schedule.sequence(total, total + 60)[0]  # the last phase's weights go on
    assert set(later.tolist()) <= set(np.flatnonzero(phases[-1]).tolist())


def test_a_curriculum_at_reading(shards: Path) -> None:
    reader = ShardReader(str(shards))
    curriculum = [Phase(0, {"red": 1}), Phase(100, {"red": 1, "green": 3})]
    sources = [
        s for batch in zip(range(6), reader.batches(50, weights=curriculum), strict=False) for s in batch[1]["source"]
    ]
    assert sources[:100] == ["red"] * 100
    assert (sources[100:].count("red"), sources[100:].count("green")) == (50, 150)
    whole = ids(b for _, b in zip(range(6), reader.batches(50, weights=curriculum), strict=False))
    resumed = reader.batches(50, weights=curriculum, state=ReadState(reader.digest, 150))
    assert ids(b for _, b in zip(range(3), resumed, strict=False)) == whole[150:]
    with pytest.raises(InputError, match="ascend"):
        reader.batches(50, weights=[Phase(0, {"red": 1}), Phase(0, {"green": 1})])
    with pytest.raises(InputError, match="begin after 0"):
        reader.batches(50, weights=[Phase(5, {"red": 1})])


def test_the_manifests_phases_are_the_default_order(shards: Path) -> None:
    reader = ShardReader(str(shards))
    reader.manifest = replace(reader.manifest, phases=((600, 100, 11), (47, 691, 0)))
    got = [s for batch in reader.batches(711, epochs=1, columns=["source"]) for s in batch["source"]]
    assert [got[:711].count(name) for name in NAMES[:3]] == [600, 100, 11]
    assert [got[711:].count(name) for name in NAMES[:3]] == [47, 691, 0]
    with pytest.raises(InputError, match="curriculum"):
        reader.batches(50, "block")


def test_what_does_not_fit_is_refused(shards: Path) -> None:
    reader = ShardReader(str(shards))
    with pytest.raises(InputError, match='need mode="global"'):
        reader.batches(8, "block", weights={"red": 1})
    with pytest.raises(InputError, match="did you mean 'block'"):
        reader.batches(8, "blok")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="window >= 1"):
        reader.batches(8, "block", window=0)
    with pytest.raises(InputError, match="unknown column 'actoin'"):
        reader.batches(8, columns=["actoin"])
    with pytest.raises(InputError, match="have no row"):
        ShardReader(str(make_empty_source(shards))).batches(8, weights={"green": 1})
    state = next(reader.batches(8, "block")).state
    for other in ({"mode": "global"}, {"mode": "block", "seed": 1}, {"mode": "block", "window": 3}):
        with pytest.raises(InputError, match="another order"):
            reader.batches(8, state=state, **other)
    reader.batches(8, state=ReadState(state.manifest, state.consumed))  # on purpose
    state = next(reader.batches(8, weights={"red": 1, "green": 1})).state
    reader.batches(8, state=state, weights={"red": 2, "green": 2})
    with pytest.raises(InputError, match="another order"):
        reader.batches(8, state=state, weights={"red": 2, "green": 1})


def make_empty_source(shards: Path) -> Path:
    folder = shards.parent / "empty"
    if not folder.exists():
        make_shards(folder, [[5, 0, 5]])
    return folder
