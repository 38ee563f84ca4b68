"""Many tables at once are the same tables as one by one, to the last bit; and what counts as following is worked out by hand."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from examples.tabletop import render
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make, make_vector
from examples.tabletop.generate import GenerateConfig, main
from examples.tabletop.rlds import demonstrate
from examples.tabletop.tasks import KINDS, Task
from examples.tabletop.vector import HOLD_SECONDS, VectorEnv
from examples.tabletop.world import LOOKS, Tables
from fasttok.errors import InputError

N, STEPS = 12, 60


def random_actions(env: VectorEnv, seed: int) -> Iterator[np.ndarray]:
    """STEPS times (N, D): from one random block to another, opening, closing and lifting at random, so that hands push, grasp,
    carry and collide."""
    rng, n = np.random.default_rng(seed), len(env)
    for step in range(STEPS):
        if step % 5 == 0:
            block, opening = rng.integers(0, env.tables.count), rng.integers(0, 2, n)
            height, far = rng.choice([0.0, 0.0, 0.08], n), rng.normal(0, 0.01, (n, 2))
        actions = rng.normal(0, 0.3, (n, env.action_dim))
        actions[:, :2] = env.tables.positions[np.arange(n), block] + far
        if env.embodiment == "planar":
            actions[:, :2] -= env.tables.hand
        else:
            actions[:, 2] = height
        actions[:, -1] = opening
        yield actions


def same(a: Tables, row: int, b: Tables) -> bool:
    """Whether row `row` of `a` is the only one of `b`, bit for bit."""
    return all(getattr(a, name)[row].tobytes() == getattr(b, name)[0].tobytes() for name in Tables.FIELDS)


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_many_are_the_same_as_one_by_one(embodiment: str, task: str) -> None:
    split = "more_objects+uncorrelated"  # crowded tables: blocks push blocks
    many = make_vector(embodiment, split, N, task)
    seen = many.reset(range(N))
    alone = [make(embodiment, split, task) for _ in range(N)]
    for row, env in enumerate(alone):
        env.reset(row)
        assert env.instruction == many.instructions[row]
    carried: set[int] = set()
    for t, action in enumerate(random_actions(many, 1)):
        seen = many.step(action)
        for row, env in enumerate(alone):
            one = env.step(action[row])
            assert same(many.tables, row, env.vector.tables)
            assert env.success() == many.success()[row]
            if t % 8 == 0:
                for name in seen:
                    assert one[name].tobytes() == seen[name][row].tobytes()
        carried |= set(many.tables.held.tolist())
    infos = [env.info() for env in alone]
    for name, values in many.info().items():
        assert [info[name] for info in infos] == values.tolist()
    assert len(carried) > 2
    assert (many.info()["touched"] >= 0).sum() > N // 2


def test_the_same_seed_gives_the_same_bytes_at_any_place() -> None:
    """Resetting some rows only, and other tables beside it, change nothing."""
    a, b = make_vector("arm", n=3), make_vector("arm", n=2)
    a.reset([4, 5, 6])
    for action in islice(random_actions(a, 0), 5):
        a.step(action)
    a.reset([9], rows=[1])
    b.reset([9, 10])
    for action in random_actions(a, 2):
        seen, other = a.step(action), b.step(action[[1, 0]])
    assert a.info()["steps"].tolist() == [STEPS + 5, STEPS, STEPS + 5]
    for name in seen:
        assert seen[name][1].tobytes() == other[name][0].tobytes()
    assert a.tasks[1] == b.tasks[0]


def test_tables_that_are_not_active_stand_still() -> None:
    env = make_vector("planar", n=4)
    env.reset(range(4))
    before = env.tables.take(slice(None))
    actions = next(random_actions(env, 0))
    actions[2] = np.nan  # what is not used is not judged
    env.step(actions, np.array([True, False, False, True]))
    for row in (1, 2):
        assert same(env.tables, row, before.take(np.array([row])))
    assert env.info()["steps"].tolist() == [1, 0, 0, 1]
    assert not np.array_equal(env.tables.hand[[0, 3]], before.hand[[0, 3]])


def test_pictures_are_of_the_moment_and_drawn_when_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(tables: Tables) -> np.ndarray:
        drawn.append(len(tables))
        return tables.hand.copy()

    monkeypatch.setitem(render.CAMERAS, "primary", draw)
    env = make_vector("planar", n=5)
    first = env.reset(range(5))
    start = env.tables.hand.copy()
    for action in random_actions(env, 0):
        last = env.step(action)
    assert not drawn
    assert np.array_equal(first["image/primary"], start)
    assert np.array_equal(last.row(3)["image/primary"], env.tables.hand[3])
    assert last["image/primary"] is last["image/primary"]
    assert drawn == [5, 5]
    assert list(first) == ["image/primary", "state"]
    assert set(last.row(0)) == {"image/primary", "state"}
    assert len(last.row(0)) == len(first) == 2
    with pytest.raises(KeyError):
        first["image/wrist"]


def by_hand(task: Task, hand: tuple[float, float] = (0.0, -0.1)) -> VectorEnv:
    """A planar robot below three blocks in a row; the left one is number 0, the right one number 2."""
    env = make_vector("planar")
    env.reset([0])
    env.tables.put(0, LOOKS[:3], np.array([[-0.1, 0.0], [0.0, 0.0], [0.1, 0.0]]), np.array(hand))
    env.tasks[0] = task
    env._asked.put(0, task)
    env._start[0], env._spot[0], env._nearest[0] = env.tables.positions[0], hand, 1
    return env


def drive(env: VectorEnv, to: tuple[float, float], opening: float = 1.0, steps: int = 8) -> None:
    """Goes there in a straight line, at a constant speed."""
    move = (np.array(to) - env.tables.hand[0]) / steps
    for _ in range(steps):
        env.step(np.array([[*move, opening]]))


def outcome(env: VectorEnv) -> tuple[int, bool, bool, bool]:
    """Touched, followed, shortcut, success."""
    info = {name: value[0].item() for name, value in env.info().items()}
    return info["touched"], info["followed"], info["shortcut"], info["success"]


def test_following_by_hand_reach() -> None:
    env = by_hand(Task("reach", "", 2))
    assert outcome(env) == (-1, False, False, False)  # nothing done yet
    drive(env, (0.0, -0.05), steps=4)
    drive(env, (0.1, -0.05), steps=4)  # past block 1 without resting there
    assert outcome(env) == (-1, False, False, False)
    drive(env, (0.1, -0.045), steps=5)
    assert outcome(env) == (2, True, False, True)
    drive(env, (0.0, -0.05), steps=4)
    drive(env, (0.0, -0.05), steps=5)  # what comes later does not count
    assert outcome(env) == (2, True, False, False)
    env = by_hand(Task("reach", "", 2))
    drive(env, (0.0, -0.05), steps=4)
    drive(env, (0.0, -0.05), steps=1 + round(HOLD_SECONDS * 10))
    assert outcome(env) == (1, False, True, False)  # rested at the nearest one, which is not named
    drive(env, (0.1, -0.05), steps=4)
    drive(env, (0.1, -0.05), steps=5)
    assert outcome(env) == (1, False, True, True)  # succeeds in the end, but did not follow


def test_following_by_hand_moving_things() -> None:
    env = by_hand(Task("place", "", 0, corner="top left"))
    drive(env, (-0.1, 0.0))
    drive(env, (-0.1, 0.0), opening=0.0)
    assert outcome(env)[0] == -1  # held, but not moved
    drive(env, (-0.12, 0.12), opening=0.0)
    assert outcome(env) == (0, True, False, False)
    drive(env, (-0.12, 0.12), opening=1.0)
    assert outcome(env) == (0, True, False, True)
    env = by_hand(Task("push", "", 2, goal=1))
    drive(env, (0.0, -0.09), opening=0.0, steps=4)
    drive(env, (0.0, 0.0), opening=0.0)  # pushes the one in the middle away
    assert outcome(env) == (1, False, True, False)
    env = by_hand(Task("push", "", 2, goal=0))
    drive(env, (-0.1, 0.0))
    drive(env, (-0.1, 0.0), opening=0.0, steps=3)
    drive(env, (0.0, 0.12), opening=0.0)
    drive(env, (0.12, 0.068), opening=0.0)
    drive(env, (0.12, 0.068), opening=0.0)
    assert env.tasks[0].satisfied(env.world(0))  # the two touch, but the goal was brought to the target
    assert outcome(env) == (0, False, False, False)


def test_generated_demonstrations_carry_the_correlation(tmp_path: Path) -> None:
    for share in (0.0, 0.9, 1.0):
        made = demonstrate("planar", range(60), correlation=share)
        near = [m["episode_metadata"]["named_is_nearest"] for m in made if m is not None]
        assert len(near) > 55
        low, high = binom.interval(0.999, len(near), share) if 0 < share < 1 else (share * len(near),) * 2
        assert low <= sum(near) <= high
    with pytest.raises(InputError, match=r"correlation is 1\.2"):
        main(GenerateConfig(tmp_path / "data", correlation=1.2))
    assert not (tmp_path / "data").exists()


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InputError, match=r"correlation is 1\.5"):
        make_vector(correlation=1.5)
    with pytest.raises(InputError, match="at least 1"):
        make_vector(n=0)
    with pytest.raises(InputError, match="did you mean 'sort'"):
        make(task="srot")
    with pytest.raises(InputError, match="did you mean 'unseen'"):
        make_vector("planar", "seen+unsen")
    env = make_vector(n=2)
    with pytest.raises(InputError, match="1 seeds for 2 tables"):
        env.reset([1])
    env.reset([1, 2])
    with pytest.raises(ValueError, match=r"expected actions \(2, 3\)"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match="3 finite numbers"):
        env.step(np.array([[0, 0, 1], [0, np.inf, 1]]))
