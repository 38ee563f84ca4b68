"""Absolute, delta or velocity: right where it can be told, unknown where it cannot."""

from pathlib import Path

import numpy as np
import pytest

from fasttok.episodes import open_episodes
from pipelines.check.action_meaning import Meaning, action_meanings, part_meaning
from tests.pipelines.check.motions import Tables, absolute, delta, differenced, integrated, servo

HZ = 20.0


def of(actions: Tables, states: Tables, hz: float | None = HZ, **more: object) -> list[Meaning]:
    return [dim.meaning for dim in action_meanings(actions, states, hz, **more)]  # type: ignore[arg-type]


def answer(actions: Tables, states: Tables, hz: float | None = HZ) -> tuple[Meaning, str]:
    found = part_meaning(action_meanings(actions, states, hz))
    return found.meaning, found.strength


@pytest.mark.parametrize("follow", [1.0, 0.5, 0.25])
def test_commands_that_the_state_follows_are_absolute(follow: float) -> None:
    actions, states = absolute(follow=follow)
    assert answer(actions, states) == ("absolute", "strong")
    assert answer(differenced(actions), states) == ("delta", "strong")
    assert answer([HZ * a for a in differenced(actions)], states) == ("velocity", "strong")


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.01])
def test_steps_of_the_path_are_deltas(noise: float) -> None:
    actions, states = delta(noise=noise)
    assert answer(actions, states) == ("delta", "strong")
    assert answer(integrated(actions, states), states) == ("absolute", "strong")
    assert answer([HZ * a for a in actions], states) == ("velocity", "strong")


def test_units_offsets_and_scales_do_not_matter() -> None:
    for actions, states, meaning in ((*absolute(), "absolute"), (*delta(), "delta")):
        degrees = [np.degrees(s) + 90 for s in states]
        assert answer(actions, degrees) == (meaning, "strong")
        largest = np.abs(np.concatenate(actions)).max(0)
        assert answer([np.clip(1.5 * a / largest, -1, 1) for a in actions], states) == (meaning, "strong")


def test_a_normalised_delta_is_no_velocity() -> None:
    actions, states = delta()
    largest = np.quantile(np.abs(np.concatenate(actions)), 0.95)
    hz = 1 / float(largest)  # the gain of this scale is that of a velocity by chance
    assert answer([np.clip(a / largest, -1, 1) for a in actions], states, hz)[0] == "delta"


def test_commands_that_arrive_late() -> None:
    for actions, states, meaning in ((*absolute(), "absolute"), (*delta(), "delta")):
        late = [np.concatenate([np.repeat(s[:1], 4, axis=0), s[:-4]]) for s in states]
        assert answer(actions, late) == (meaning, "strong")


def test_a_delta_that_follows_from_the_state_is_a_delta() -> None:
    assert answer(*servo())[0] in ("delta", "unknown")
    assert answer(*servo(gain=0.6))[0] in ("delta", "unknown")


def test_an_action_taken_relative_to_the_state_is_no_absolute_one() -> None:
    actions, states = absolute(follow=0.5)
    relative = [a - s for a, s in zip(actions, states, strict=True)]
    assert answer(relative, states)[0] in ("delta", "unknown")


def test_states_in_another_order_are_found() -> None:
    order = [2, 0, 3, 1]
    for actions, states, meaning in ((*absolute(), "absolute"), (*delta(), "delta")):
        found = action_meanings(actions, [s[:, order] for s in states], HZ)
        assert {dim.meaning for dim in found} == {meaning}
        assert [dim.state for dim in found] == [order.index(d) for d in range(4)]


def test_a_speed_in_the_state_makes_no_delta_absolute() -> None:
    actions, states = delta(noise=0.0)
    speeds = [np.concatenate([np.zeros((1, 4)), a[:-1]]) * HZ for a in actions]
    both = [np.concatenate([v, s], axis=1) for v, s in zip(speeds, states, strict=True)]
    assert answer(actions, both)[0] in ("delta", "unknown")
    assert set(of(actions, both, pairs=[4, 5, 6, 7])) == {"delta"}
    assert answer(actions, [b[:, [4, 5, 6, 7, 0, 1, 2, 3]] for b in both]) == ("delta", "strong")
    commands, reached = absolute()
    moving = [np.concatenate([s, np.gradient(s, axis=0)], axis=1) for s in reached]
    assert answer(commands, moving) == ("absolute", "strong")


def test_names_may_say_which_state_an_action_moves() -> None:
    actions, states = absolute()
    assert of(actions, [s[:, ::-1] for s in states], pairs=[3, 2, 1, 0]) == ["absolute"] * 4


def test_what_does_not_follow_is_unknown() -> None:
    rng = np.random.default_rng(1)
    for seed in range(8):
        actions, states = absolute(seed=seed)
        others, _ = absolute(seed=seed + 100)
        short = [min(len(a), len(b)) for a, b in zip(actions, others, strict=True)]
        strangers = [o[:n] for o, n in zip(others, short, strict=True)]
        assert set(of(strangers, [s[:n] for s, n in zip(states, short, strict=True)])) == {"unknown"}
        assert set(of([rng.normal(size=a.shape) for a in actions], states)) == {"unknown"}
        assert set(of([np.zeros_like(a) for a in actions], states)) == {"unknown"}
        assert set(of(actions, [np.zeros_like(s) for s in states])) == {"unknown"}


def test_a_still_dim_in_the_states_place_is_absolute_but_not_for_sure() -> None:
    actions, states = absolute()
    rng = np.random.default_rng(0)
    for a, s in zip(actions, states, strict=True):
        a[:, 1] = 0.5
        s[:, 1] = 0.51 + rng.normal(0, 1e-3, len(s))
    found = action_meanings(actions, states, HZ)
    assert (found[1].meaning, found[1].strength) == ("absolute", "some")
    assert part_meaning(found).strength == "strong"


def test_little_data_is_never_sure() -> None:
    actions, states = absolute(episodes=2)
    assert "strong" not in {dim.strength for dim in action_meanings(actions, states, HZ)}
    assert of([], [], HZ) == []
    assert of([np.zeros((3, 2))], [np.zeros((3, 2))]) == ["unknown"] * 2
    assert of([np.zeros((30, 2))], [np.zeros((30, 0))]) == ["unknown"] * 2


def test_angles_that_wrap() -> None:
    rng = np.random.default_rng(3)
    turning = [np.cumsum(rng.uniform(0.0, 0.3, (80, 1)) * np.sign(rng.normal()), axis=0) for _ in range(10)]
    wrapped = [np.mod(t + np.pi, 2 * np.pi) - np.pi for t in turning]
    moves = [np.diff(t, axis=0, append=t[-1:]) for t in turning]
    assert answer(moves, wrapped) == ("delta", "strong")
    assert answer(wrapped, wrapped) == ("absolute", "strong")


def test_a_glitch_decides_nothing() -> None:
    for actions, states, meaning in ((*absolute(), "absolute"), (*delta(), "delta")):
        actions[0][20, 0] = 1e4
        states[3][10, 1] = -1e4
        states[4][5, 2] = np.nan
        assert answer(actions, states) == (meaning, "strong")


def test_robots_of_all_kinds() -> None:
    """Never sure and wrong, and seldom without an answer, whatever a robot's frequency, lag, scale, noise and paths are."""
    rng = np.random.default_rng(0)
    told = 0
    for seed in range(60):
        kind = ("absolute", "delta")[seed % 2]
        noise, episodes = 10 ** rng.uniform(-5, -2.3), int(rng.integers(3, 20))
        if kind == "absolute":
            actions, states = absolute(seed, episodes, 3, float(rng.uniform(0.15, 1)), noise)
        else:
            actions, states = delta(seed, episodes, 3, noise)
        late = int(rng.integers(0, 3))
        states = [np.concatenate([np.repeat(s[:1], late, axis=0), s[: len(s) - late]]) for s in states]
        scale = float(10 ** rng.uniform(-2, 2))
        hz = float(rng.choice([5, 10, 30, 50]))
        found = action_meanings([a * scale for a in actions], states, hz)
        natures = {("absolute" if dim.meaning == "absolute" else "delta") for dim in found if dim.strength == "strong"}
        assert natures <= {kind}
        told += bool(natures)
    assert told >= 57


REAL: dict[str, tuple[str, str, float, slice, Meaning]] = {
    "g1_bottle": ("lerobot/g1_bottle", "observation.state", 30, slice(None), "absolute"),
    "bridge": ("rlds/bridge_dataset/1.0.0", "observation/state", 5, slice(0, 6), "delta"),
    "metaworld": ("rlds/metaworld_mt50/1.0.0", "observation/state", 80, slice(0, 3), "delta"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_robots_and_their_copies(shared_data: Path, name: str) -> None:
    folder, state, hz, part, meaning = REAL[name]
    episodes = list(open_episodes(str(shared_data / folder)))
    actions = [np.asarray(episode.steps["action"], float)[:, part] for episode in episodes]
    states = [np.asarray(episode.steps[state], float) for episode in episodes]
    assert answer(actions, states, hz) == (meaning, "strong")
    if meaning == "absolute":
        assert answer(differenced(actions), states, hz) == ("delta", "strong")
        assert answer([hz * a for a in differenced(actions)], states, hz) == ("velocity", "strong")
    else:
        assert answer(integrated(actions, states), states, hz) == ("absolute", "strong")


@pytest.mark.parametrize(("name", "hz", "dims", "meaning"), [("planar", 10, 2, "delta"), ("arm", 20, 6, "absolute")])
def test_the_tabletop_robots_and_their_copies(
    tabletop: Path, name: str, hz: float, dims: int, meaning: Meaning
) -> None:
    episodes = list(open_episodes(str(tabletop / f"tabletop_{name}" / "1.0.0")))
    actions = [np.asarray(episode.steps["action"], float)[:, :dims] for episode in episodes]
    states = [np.asarray(episode.steps["observation/state"], float) for episode in episodes]
    assert answer(actions, states, hz) == (meaning, "strong")
    if meaning == "absolute":
        assert answer(differenced(actions), states, hz) == ("delta", "strong")
    else:
        assert answer(integrated(actions, states), states, hz) == ("absolute", "strong")
        assert answer([hz * a for a in actions], states, hz) == ("velocity", "strong")
