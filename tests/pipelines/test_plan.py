"""The plan: exact draws, every group in one shard, sources of one dataset together; pure, and small at any size."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.errors import InputError
from mixtures.index_sizes import Holding, group
from mixtures.spec import Group, Mixture, Source, SourceFilters
from pipelines.builder import draws as draws_module
from pipelines.builder.console_report import print_plan
from pipelines.builder.draws import draw, group_takes
from pipelines.builder.plan import COLUMNS, load_plan, make_plan, save_plan, shard_groups


def holding(lengths: list[int], files: int = 1) -> Holding:
    """Records of these lengths, in each of some files."""
    parts = [group(np.arange(len(lengths)), np.array(lengths, np.int64)) for _ in range(files)]
    file = np.repeat(np.arange(files, dtype=np.int32), [len(part[0]) for part in parts])
    first, records, frames = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Holding(file, first, records.astype(np.int32), frames, int(frames.sum()) * 1000, 0, {})


def mixture(*weights: float) -> Mixture:
    return Mixture("m", Group("m", tuple(Source(f"s{i}", f"d{i}", weight=w) for i, w in enumerate(weights))))


@given(st.integers(1, 400), st.integers(0, 1500), st.integers(0, 3))
def test_draws_are_exact_and_even(frames: int, quota: int, key: int) -> None:
    found = draw(str(key), frames, quota).takes(0, frames)
    assert found.sum() == quota
    assert set(found.tolist()) <= {quota // frames, quota // frames + 1}
    part = draw(str(key), frames, quota).takes(frames // 3, frames - frames // 3)
    assert part.tolist() == found[frames // 3 :].tolist()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(0, 900))
def test_rows_of_groups_do_not_depend_on_blocks(frames: list[int], quota: int) -> None:
    sizes = np.array(frames, np.int64)
    drawn = draw("k", int(sizes.sum()), quota)
    whole = group_takes(drawn, sizes)
    assert whole.sum() == quota
    block, draws_module.BLOCK = draws_module.BLOCK, 50
    try:
        assert group_takes(drawn, sizes).tolist() == whole.tolist()
        assert draw("k", int(sizes.sum()), quota) == drawn
    finally:
        draws_module.BLOCK = block


def test_draws_are_independent_of_where_a_frame_is() -> None:
    """Each frame is as likely as any other: over many seeds none is preferred."""
    hits = sum(draw(str(seed), 40, 10).takes(0, 40) for seed in range(400))
    assert (np.abs(hits - 100) < 5 * np.sqrt(400 * 0.25 * 0.75)).all()


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any), min_size=1, max_size=4),
    st.integers(1, 2000),
    st.integers(1, 9),
)
def test_every_group_is_in_one_shard_and_nothing_is_lost(lengths: list[list[int]], samples: int, shards: int) -> None:
    m = mixture(*[1.0 + i for i in range(len(lengths))])
    held = {f"s{i}": holding(part, 2) for i, part in enumerate(lengths)}
    plan, placed = make_plan(m, held, "index", samples, 0, shards)
    assert sum(plan.planned.values()) == samples
    for source, table in zip(plan.sources, placed, strict=True):
        assert sum(table.column("rows").to_pylist()) == source.quota
        first = table.column("first").to_pylist()
        assert len(first) == len(set(first))
        assert all(0 <= shard < shards for shard in table.column("shard").to_pylist())
        for row in table.to_pylist():
            assert source.draws.takes(row["first"], row["frames"]).sum() == row["rows"] > 0
    again, tables = make_plan(m, held, "index", samples, 0, shards)
    assert (again, [t.equals(u) for t, u in zip(tables, placed, strict=True)]) == (plan, [True] * len(placed))
    assert make_plan(m, held, "index", samples, 1, shards)[0].digest != plan.digest
    assert make_plan(m, held, "other", samples, 0, shards)[0].digest != plan.digest


def test_sources_of_the_same_records_are_placed_together() -> None:
    one = holding([50] * 40)
    m = Mixture("m", Group("m", (Source("a", "d", weight=3), Source("q", "d", weight=1), Source("b", "e", weight=1))))
    plan, placed = make_plan(m, {"a": one, "q": one, "b": holding([50] * 40)}, "i", 1500, 0, 6)
    assert [source.bundle for source in plan.sources] == [0, 0, 1]
    shard = {row["first"]: row["shard"] for row in placed[0].to_pylist()}
    assert all(shard.get(row["first"], row["shard"]) == row["shard"] for row in placed[1].to_pylist())
    rows = np.bincount(placed[0].column("shard").to_numpy(), placed[0].column("rows").to_numpy(), 6)
    rows += np.bincount(placed[1].column("shard").to_numpy(), placed[1].column("rows").to_numpy(), 6)
    assert rows.max() - rows.min() <= 100  # two episodes' worth


def test_equal_holdings_in_two_objects_make_the_same_plan() -> None:
    """Sources take the same records if dataset, split and filters are the same, whoever read the INDEX how often."""
    same = Source("a", "d", weight=3), Source("q", "d", weight=1)
    m = Mixture("m", Group("m", same))
    one = holding([50] * 40)
    shared, _ = make_plan(m, {"a": one, "q": one}, "i", 900, 0, 4)
    apart, _ = make_plan(m, {"a": one, "q": holding([50] * 40)}, "i", 900, 0, 4)
    assert [source.bundle for source in apart.sources] == [0, 0]
    assert apart.digest == shared.digest
    longer = Source("q", "d", weight=1, filters=SourceFilters(min_steps=9))
    other = Mixture("m", Group("m", (same[0], longer)))
    filtered, _ = make_plan(other, {"a": one, "q": one}, "i", 900, 0, 4)
    assert [source.bundle for source in filtered.sources] == [0, 1]


def test_a_saved_plan_is_the_plan(tmp_path: Any) -> None:
    plan, placed = make_plan(mixture(2, 1), {"s0": holding([9, 80, 3] * 9), "s1": holding([1] * 500)}, "i", 600, 0, 4)
    save_plan(str(tmp_path), plan, placed)
    assert load_plan(str(tmp_path)) == plan
    seen = [shard_groups(str(tmp_path), plan, shard) for shard in range(4)]
    for number, table in enumerate(placed):
        rows = sorted((r for part in seen for r in part[number].to_pylist()), key=lambda r: r["first"])
        assert rows == sorted(table.to_pylist(), key=lambda r: r["first"])
        assert set(table.column_names) == set(COLUMNS)


def test_the_printed_plan_says_that_its_shares_are_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """With `max_epochs`, the samples have other shares: 10 of 100 are not 50 %."""
    capped = Source("s0", "d0", weight=1.0, max_epochs=1.0), Source("s1", "d1", weight=1.0)
    held = {"s0": holding([1] * 10), "s1": holding([1] * 500)}
    plan, _ = make_plan(Mixture("m", Group("m", capped)), held, "i", 100, 0, 1)
    print_plan(plan, [SimpleNamespace(kind="vqa", robot=False)] * 2)  # type: ignore[list-item]
    printed = " ".join(capsys.readouterr().out.split())
    assert "kind share asked samples" in printed
    assert "s0 vqa 50.00 % 10 10" in printed


def test_a_plan_of_a_hundred_million_questions_is_groups_not_questions() -> None:
    """Sizes only, so it is quick: 3.2 million questions are 100,000 groups, and the plan holds those that are taken."""
    held = holding([1] * 1600, 2000)
    plan, placed = make_plan(mixture(1), {"s0": held}, "i", 3_000_000, 0)
    assert len(held.frames) == 100_000
    assert placed[0].num_rows <= 100_000
    assert placed[0].nbytes < 5_000_000
    assert plan.shards > 1


@pytest.mark.parametrize(
    ("samples", "shards", "says"), [(0, None, "--samples"), (5, 0, "--shards"), (5, 10**6, "--shards")]
)
def test_numbers_that_cannot_be(samples: int, shards: int | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_plan(mixture(1), {"s0": holding([5])}, "i", samples, 0, shards)


def test_a_source_without_records_says_why() -> None:
    nothing, none = np.zeros(0, np.int32), np.zeros(0, np.int64)
    empty = Holding(nothing, none, nothing, none, 0, 0, {"matches": 7})
    with pytest.raises(InputError, match=r"passes its filters .*7 left out by matches"):
        make_plan(mixture(1), {"s0": empty}, "i", 5, 0)
