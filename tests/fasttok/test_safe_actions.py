"""Limits hold whatever a policy says, and chunks that overlap become one motion."""

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.errors import InputError
from fasttok.safe_actions import ActionLimits, ChunkPlan, SafeActions, ticks_of

DIM = 3
NUMBER = st.floats(-1e6, 1e6)
ACTION = st.lists(NUMBER, min_size=DIM, max_size=DIM)
WRONG: Any = {"how": "jump"}
METADATA = {"action_dim": 3, "action_low": [-1.0, None, 0.0], "action_high": [1.0, None, 1.0]}


@st.composite
def limits(draw: Any) -> ActionLimits:
    ends = np.sort([draw(ACTION), draw(ACTION)], axis=0)
    steps = draw(st.lists(st.one_of(st.floats(1e-6, 1e6), st.just(np.inf)), min_size=DIM, max_size=DIM))
    return ActionLimits(ends[0], ends[1], np.array(steps))


@settings(max_examples=200, deadline=None)
@given(limits(), st.lists(ACTION, min_size=1, max_size=8), st.lists(st.floats(0, 1), min_size=DIM, max_size=DIM))
def test_every_action_is_within_the_limits(bounds: ActionLimits, actions: list[list[float]], at: list[float]) -> None:
    last = bounds.low + np.array(at) * (bounds.high - bounds.low)
    last = np.clip(last, bounds.low, bounds.high)
    safe = SafeActions(bounds, start=last)
    for action in actions:
        sent = safe(action)
        assert (bounds.low <= sent).all()
        assert (sent <= bounds.high).all()
        assert (np.abs(sent - last) <= bounds.largest_step * (1 + 1e-9) + 1e-9).all()
        last = sent
    assert safe.ticks == len(actions)


@settings(max_examples=200, deadline=None)
@given(limits(), ACTION, ACTION)
def test_an_action_within_the_limits_is_not_changed(
    bounds: ActionLimits, start: list[float], action: list[float]
) -> None:
    first = np.clip(start, bounds.low, bounds.high)
    wanted = np.clip(np.clip(action, bounds.low, bounds.high), first - bounds.largest_step, first + bounds.largest_step)
    safe = SafeActions(bounds, start=first)
    np.testing.assert_array_equal(safe(wanted), wanted)
    assert not safe.clipped.any()
    assert not safe.slowed.any()


@settings(max_examples=100, deadline=None)
@given(limits(), ACTION, ACTION)
def test_an_arm_outside_of_the_range_comes_back_and_never_goes_further(
    bounds: ActionLimits, start: list[float], action: list[float]
) -> None:
    def outside(where: Any) -> Any:
        return np.maximum(bounds.low - where, 0) + np.maximum(where - bounds.high, 0)

    safe, last = SafeActions(bounds, start=start), np.array(start)
    for _ in range(4):
        sent = safe(action)
        assert (outside(sent) <= outside(last)).all()
        last = sent


def test_what_was_changed_is_counted() -> None:
    safe = SafeActions(ActionLimits.of(METADATA, largest_step=[np.inf, 0.5, 0.1]), start=[0, 0, 0])
    np.testing.assert_allclose(safe([5, 2, 0.05]), [1, 0.5, 0.05])
    np.testing.assert_allclose(safe([0, 1, 2]), [0, 1, 0.15])
    assert (safe.ticks, safe.clipped.tolist(), safe.slowed.tolist()) == (2, [1, 0, 1], [0, 1, 1])


def test_without_a_start_the_first_action_is_only_clipped() -> None:
    safe = SafeActions(ActionLimits.of(METADATA, largest_step=0.1), start=None)
    np.testing.assert_allclose(safe([5, 5, 5]), [1, 5, 1])
    np.testing.assert_allclose(safe([0, 0, 0]), [0.9, 4.9, 0.9])


@pytest.mark.parametrize("action", [[0, np.nan, 0], [0, np.inf, 0], [0, 0], [[0, 0, 0]], None, "go"])
def test_an_action_that_is_none_is_refused_and_changes_nothing(action: Any) -> None:
    safe = SafeActions(ActionLimits.of(METADATA, largest_step=0.1), start=[0, 0, 0])
    with pytest.raises(InputError, match="3 finite numbers"):
        safe(action)
    assert safe.ticks == 0
    np.testing.assert_allclose(safe([1, 1, 1]), [0.1, 0.1, 0.1])


def test_the_training_range_with_a_margin() -> None:
    bounds = ActionLimits.of(METADATA, margin=0.1)
    np.testing.assert_allclose(bounds.low, [-1.2, -np.inf, -0.1])
    np.testing.assert_allclose(bounds.high, [1.2, np.inf, 1.1])
    unknown = ActionLimits.of({"action_dim": 2, "action_low": None, "action_high": None}, margin=1)
    assert np.isneginf(unknown.low).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ActionLimits(np.ones(2), np.zeros(2), np.ones(2)),
        lambda: ActionLimits(np.zeros(2), np.ones(3), np.ones(2)),
        lambda: ActionLimits(np.zeros(2), np.ones(2), np.zeros(2)),
        lambda: ActionLimits(np.zeros(2), np.array([1, np.nan]), np.ones(2)),
        lambda: ActionLimits.of({}),
        lambda: ActionLimits.of(METADATA | {"action_dim": 4}),
        lambda: ActionLimits.of(METADATA | {"action_low": 3}),
        lambda: ActionLimits.of(METADATA, margin=-1),
        lambda: ActionLimits.of(METADATA, largest_step=[1, 2]),
        lambda: ActionLimits.of(METADATA, largest_step="slow"),
        lambda: ChunkPlan().add([[1], [1, 2]], 0),
        lambda: ChunkPlan().add("chunk", 0),
        lambda: SafeActions(ActionLimits.of(METADATA), start=[0, 0, np.nan]),
        lambda: ChunkPlan(**WRONG),
        lambda: ChunkPlan(ticks=-1),
        lambda: ChunkPlan(newest=[-1]),
        lambda: ticks_of(-1, 10),
        lambda: ticks_of(1, 0),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()


def chunk(value: float, steps: int = 8, dim: int = 2) -> Any:
    return np.full((steps, dim), value)


def values(plan: ChunkPlan, ticks: range) -> list[float | None]:
    return [None if (action := plan.action(tick)) is None else float(action[0]) for tick in ticks]


def test_cut_takes_the_newest_chunk_and_leaves_out_what_has_gone_by() -> None:
    plan = ChunkPlan(how="cut")
    plan.add(np.arange(8.0)[:, None], 0)
    assert values(plan, range(3)) == [0, 1, 2]
    plan.add(100 + np.arange(8.0)[:, None], 2)  # seen at tick 2, there before tick 3
    assert values(plan, range(3, 12)) == [101, 102, 103, 104, 105, 106, 107, None, None]


@pytest.mark.parametrize("how", ["cut", "blend", "ensemble"])
def test_a_chunk_that_is_over_when_it_arrives_changes_nothing(how: Any) -> None:
    plan = ChunkPlan(how=how)
    plan.add(chunk(0, 20), 0)
    assert values(plan, range(12)) == [0] * 12
    plan.add(chunk(9, 4), 2)  # a slow request: its last action was for tick 5
    assert plan.left(12) == 8
    assert values(plan, range(12, 22)) == [0] * 8 + [None] * 2


@pytest.mark.parametrize("how", ["cut", "blend", "ensemble"])
@pytest.mark.parametrize("asked", [0, 2])
def test_until_a_chunk_begins_the_older_one_goes_on(how: Any, asked: int) -> None:
    plan = ChunkPlan(how=how, ticks=2)
    plan.add(chunk(0), 0)
    assert values(plan, range(asked)) == [0] * asked
    plan.add(chunk(9), 5)  # the robot asked for the chunk that begins when this part of the plan is done
    played = values(plan, range(asked, 14))
    assert played[: 5 - asked] == [0] * (5 - asked)
    assert played[8 - asked :] == [9] * 5 + [None]
    assert None not in played[:-1]
    plan.add(chunk(7), 20)
    assert plan.left(14) == 0
    assert plan.left(20) == 8


def test_blend_fades_within_some_ticks() -> None:
    plan = ChunkPlan(how="blend", ticks=3)
    plan.add(chunk(0), 0)
    assert values(plan, range(2)) == [0, 0]
    plan.add(chunk(4), 1)
    assert values(plan, range(2, 10)) == [1, 2, 3, 4, 4, 4, 4, None]


def test_a_fade_ends_with_what_was_planned() -> None:
    plan = ChunkPlan(how="blend", ticks=100)
    plan.add(chunk(0, 4), 0)
    assert values(plan, range(2)) == [0, 0]
    plan.add(chunk(3), 2)
    assert values(plan, range(2, 6)) == [1, 2, 3, 3]


def test_the_gripper_is_always_the_newest_chunks() -> None:
    for plan in (ChunkPlan(how="blend", newest=[1]), ChunkPlan(how="ensemble", newest=[1])):
        plan.add(chunk(0), 0)
        plan.add(chunk(1), 0)
        action = plan.action(0)
        assert action is not None
        assert 0 < action[0] < 1
        assert action[1] == 1


def test_ensemble_weighs_as_act_does() -> None:
    plan = ChunkPlan(how="ensemble", decay=0.5)
    for tick, value in enumerate((1.0, 2.0, 4.0)):
        plan.add(chunk(value), tick)
    weights = np.exp(-0.5 * np.arange(3))  # the oldest weighs most
    assert values(plan, range(2, 3)) == pytest.approx([float(weights @ [1, 2, 4] / weights.sum())])
    assert values(plan, range(9, 11)) == [4.0, None]


def test_ensemble_forgets_chunks_that_have_ended() -> None:
    plan = ChunkPlan(how="ensemble")
    for tick in range(200):
        plan.add(chunk(tick, 5), tick)
        plan.action(tick)
    assert len(plan._chunks) <= 6


CHUNKS = st.lists(
    st.tuples(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 3)),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(CHUNKS, st.sampled_from(["cut", "blend", "ensemble"]), st.integers(0, 5), st.floats(-2, 2))
def test_actions_lie_between_what_chunks_say_and_reach_as_far_as_the_newest(
    chunks: list[tuple[list[float], int, int]], how: Any, ticks: int, decay: float
) -> None:
    plan, seen_at, now, end = ChunkPlan(how=how, ticks=ticks, decay=decay), 0, 0, 0
    for numbers, later, played in chunks:
        seen_at = max(seen_at + later, 0)
        now = max(now, seen_at)
        plan.add(np.array(numbers)[:, None], seen_at)
        end = seen_at + len(numbers) if seen_at + len(numbers) > now else end
        for _ in range(played):
            action, left = plan.action(now), plan.left(now)
            assert (action is None) == (left == 0)
            if action is not None:
                every = [number for row, _, _ in chunks for number in row]
                assert min(every) - 1e-9 <= action[0] <= max(every) + 1e-9
            now += 1
        if how != "ensemble":
            assert plan.left(now) == max(0, end - now)


def test_a_chunk_of_another_robot_or_of_the_past_is_refused() -> None:
    plan = ChunkPlan()
    plan.add(chunk(0), 5)
    for wrong, tick in (
        (chunk(0, dim=3), 6),
        (chunk(np.nan), 6),
        (np.zeros(3), 6),
        (np.zeros((0, 2)), 6),
        (chunk(0), 4),
    ):
        with pytest.raises(InputError):
            plan.add(wrong, tick)
    plan.action(9)
    with pytest.raises(InputError, match="only go forwards"):
        plan.action(7)
    with pytest.raises(InputError, match="names dimension 2"):
        ChunkPlan(newest=[2]).add(chunk(0), 0)


def test_a_thread_may_add_while_another_plays() -> None:
    plan = ChunkPlan(how="blend")
    plan.add(chunk(0, 64), 0)
    at = 0  # the tick that is played: an observation is never of a later one

    def adds() -> None:
        for _ in range(200):
            plan.add(chunk(1, 64), at)

    adder = threading.Thread(target=adds)
    adder.start()
    played = []
    for at in range(60):
        played += values(plan, range(at, at + 1))
    adder.join()
    assert all(value is not None and 0 <= value <= 1 for value in played)


def test_it_needs_numpy_only() -> None:
    code = "import fasttok.safe_actions, sys; print(*[n for n in ('jax', 'numba', 'scipy', 'tensorflow') if n in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
