"""Finds out whether an action is absolute, a delta or a velocity, from the states that the robot reached.

The state looks like an absolute action of some steps before. It does not look like a delta, but like the sum of all deltas so
far. So the action and the sum of the actions are both compared with the state, by correlation and without their means over
each episode: units and offsets do not matter. The answer is the one that explains the state clearly better. It must also fit
the changes from one step to the next, in which a common drift does not count. How far the state moves per action then tells
a delta per step from a delta per second, which is a velocity.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.correlation import Following, Table, follow, level, level_steps, steps, summed

Meaning = Literal["absolute", "delta", "velocity", "unknown"]
Strength = Literal["strong", "some", "none"]
DELAY = 0.3  # seconds that a robot may need to follow an action
MOST_LAGS = 12
FITS = 0.4  # share of the state's movement that the answer must explain
FITS_WELL = 0.7
BETTER = 0.6  # the answer may leave this share of what the other answer leaves unexplained
MUCH_BETTER = 0.4
OTHER_DIM = 0.7  # share that the action must explain of a state dim that has another number
OTHER_DIM_WELL = 0.9
ALIKE = 0.15  # an action is in the unit of its state if it differs by less than this share of the state's size
PER_STEP = 1.25  # gains of a velocity may be off by this factor
FEWEST = 60  # with fewer steps, no evidence is strong
FEWEST_EPISODES = 3
WRAP = 0.7  # rad by which a jump may differ from a whole turn


@dataclass(frozen=True)
class DimMeaning:
    """Measured meaning of one action dim.

    Attributes:
        meaning: absolute, delta, velocity or unknown.
        strength: strength of the evidence; rely only on strong evidence.
        state: the state dim that it moves, None if no state dim follows it.
        lag: steps until the state has followed.
        gain: change of the action (of its sum, for a delta) per change of 1 in the state; 1 if both have the same unit.
        absolute: share of the state's movement that the action explains if it is absolute.
        delta: share of the state's movement that it explains if it is a delta.
        normalized: whether all values are in [-1, 1] and 1 % or more are -1 or 1, so that the unit is not the state's.
    """

    meaning: Meaning
    strength: Strength
    state: int | None = None
    lag: int = 0
    gain: float = 0.0
    absolute: float = 0.0
    delta: float = 0.0
    normalized: bool = False

    def __str__(self) -> str:
        absolute, delta = percent(self.absolute, 0), percent(self.delta, 0)
        if self.meaning == "unknown":
            return f"unknown (absolute would explain {absolute} of the state's movement, a delta {delta})"
        unit = "" if self.meaning == "absolute" else f", {self.gain:.3g} for a movement of 1 per step"
        return (
            f"{self.meaning} (absolute explains {absolute}, a delta {delta} of the movement of state dim "
            f"{self.state}, {self.lag} step(s) later{unit}; evidence: {self.strength})"
        )


@dataclass(frozen=True)
class PartMeaning:
    """Measured meaning of a part of an action: several dims that belong together.

    If any dims have strong evidence, only these count; otherwise all dims whose meaning is known.

    Attributes:
        meaning: the meaning of at least three in four of the dims that count, else unknown.
        strength: strong if all dims with strong evidence agree and are at least a third of all dims; none if the meaning is
            unknown; else some.
        dims: number of counted dims with this meaning.
        of: number of all dims.
    """

    meaning: Meaning
    strength: Strength
    dims: int
    of: int


def action_meanings(
    actions: Sequence[NDArray[Any]],
    states: Sequence[NDArray[Any]],
    hz: float | None = None,
    pairs: Sequence[int | None] | None = None,
) -> list[DimMeaning]:
    """Measures what each action dim is.

    Args:
        actions: an array (T, D) per episode.
        states: an array (T, S) for each of these episodes: where the robot was at these steps.
        hz: control frequency in Hz; None if it is not known, and then a velocity looks like a delta.
        pairs: for each action dim the state dim with its name, or None. Without a name, the state dim with the same number is
            tried, then the one that fits best.

    >>> rng = np.random.default_rng(0)
    >>> moves = [rng.normal(size=(40, 1)) for _ in range(5)]
    >>> places = [np.cumsum(np.concatenate([np.zeros((1, 1)), m[:-1]]), axis=0) for m in moves]
    >>> action_meanings(moves, places)[0].meaning, action_meanings(places, places)[0].meaning
    ('delta', 'absolute')
    """
    tables = [_tables(a, s) for a, s in zip(actions, states, strict=True)]
    tables = [(a, s) for a, s in tables if len(a) >= 4]
    width = actions[0].reshape(len(actions[0]), -1).shape[1] if actions else 0
    if not tables or not tables[0][1].shape[1]:
        return [DimMeaning("unknown", "none")] * width
    moved, reached = [_unwrapped(a) for a, _ in tables], [_unwrapped(s) for _, s in tables]
    moved, reached = _without_glitches(moved), _without_glitches(reached)
    shortest = sorted(len(a) for a in moved)[len(moved) // 4]
    lags = min(MOST_LAGS, max(3, round(DELAY * (hz or 10))), max(1, shortest // 4))
    evidence = _Evidence(
        level=follow(level, moved, reached, lags),
        summed=follow(summed, moved, reached, lags),
        level_steps=follow(level_steps, moved, reached, lags),
        steps=follow(steps, moved, reached, lags),
        alike=_alike(moved, reached),
    )
    enough = len(tables) >= FEWEST_EPISODES and sum(map(len, moved)) >= FEWEST
    joined = np.concatenate(moved)
    found = [
        _dim(evidence, d, _usual(d, reached[0].shape[1], pairs), _normalized(joined[:, d]), enough)
        for d in range(width)
    ]
    return _with_velocities(found, hz)


def part_meaning(dims: Sequence[DimMeaning]) -> PartMeaning:
    """Returns the common meaning of dims that belong together: a part of an action, such as x, y and z.

    >>> one = DimMeaning("delta", "strong")
    >>> part_meaning([one, DimMeaning("unknown", "none"), one])
    PartMeaning(meaning='delta', strength='strong', dims=2, of=3)
    """
    strong = [dim for dim in dims if dim.strength == "strong"]
    counting = strong or [dim for dim in dims if dim.meaning != "unknown"]
    kinds = Counter(dim.meaning for dim in counting)
    if not kinds:
        return PartMeaning("unknown", "none", 0, len(dims))
    meaning, count = kinds.most_common(1)[0]
    if len(kinds) > 1 and count < 3 * (len(counting) - count):
        return PartMeaning("unknown", "none", 0, len(dims))
    strength: Strength = "strong" if strong and len(kinds) == 1 and 3 * count >= len(dims) else "some"
    return PartMeaning(meaning, strength, count, len(dims))


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Evidence for an absolute action and for a delta; all arrays are (D, S), see `correlation`."""

    level: Following
    summed: Following
    level_steps: Following
    steps: Following
    alike: NDArray[np.bool_]


def _tables(action: NDArray[Any], state: NDArray[Any]) -> tuple[Table, Table]:
    """Returns both as (T, D) and (T, S), without steps that have NaN or inf."""
    a, s = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (action, state))
    rows = np.isfinite(a).all(axis=1) & np.isfinite(s).all(axis=1)
    return a[rows], s[rows]


def _unwrapped(values: Table) -> Table:
    """Removes jumps by a whole turn from angles in radians."""
    jumps = np.abs(np.diff(values, axis=0))
    turns = (np.abs(jumps - 2 * np.pi) < WRAP).any(axis=0) & (np.abs(values).max(axis=0) < 2 * np.pi + WRAP)
    if not turns.any():
        return values
    return np.where(turns, np.unwrap(values, axis=0), values)


def _without_glitches(episodes: list[Table]) -> list[Table]:
    """Clips single values far outside all others, so that they do not dominate the result."""
    low, high = np.quantile(np.concatenate(episodes), [0.005, 0.995], axis=0)
    room = 2 * (high - low)
    return [np.clip(values, low - room, high + room) if (room > 0).any() else values for values in episodes]


def _usual(d: int, width: int, pairs: Sequence[int | None] | None) -> tuple[int | None, bool]:
    """Returns the state dim that an action dim most likely moves, and whether names say so."""
    named = pairs[d] if pairs is not None else None
    if named is not None:
        return named, True
    return (d if d < width else None), False


def _normalized(values: Table) -> bool:
    size = np.abs(values)
    return bool(size.max() <= 1.0 and np.isclose(size, 1.0, atol=1e-6).mean() >= 0.01)


def _alike(actions: list[Table], states: list[Table]) -> NDArray[np.bool_]:
    """Returns (D, S) bool: whether the action has the state's values, for states far from 0 compared with their movement."""
    a, s = np.concatenate(actions), np.concatenate(states)
    size = np.sqrt((s * s).mean(0))
    far = (size > 4 * s.std(0)) & (size > 1e-3)
    found = np.zeros((a.shape[1], s.shape[1]), bool)
    for d in range(a.shape[1]):
        apart = np.sqrt(((a[:, d : d + 1] - s) ** 2).mean(0))
        found[d] = far & (apart < ALIKE * size)
    return found


def _dim(evidence: _Evidence, d: int, likely: tuple[int | None, bool], normalized: bool, enough: bool) -> DimMeaning:
    """Judges an action dim by its usual state dim, or else by the state dim that follows it best."""
    usual, named = likely
    if usual is not None:
        found = _judge(evidence, d, usual, normalized, enough)
        if found.meaning != "unknown":
            return found if named else _unless_other_dim(evidence, d, found)
    best = int(np.maximum(np.abs(evidence.level.r[d]), np.abs(evidence.summed.r[d])).argmax())
    other = _judge(evidence, d, best, normalized, enough)
    rival = max(_share(evidence.level.r[d]).max(), 0.0), max(_share(evidence.summed.r[d], True).max(), 0.0)
    share, against = (rival[0], rival[1]) if other.meaning == "absolute" else (rival[1], rival[0])
    fits = share >= OTHER_DIM and 1 - share < MUCH_BETTER * (1 - against)
    if best != usual and other.meaning != "unknown" and fits:
        return other if share >= OTHER_DIM_WELL else replace(other, strength="some")
    here = best if usual is None else usual
    absolute, delta = float(_share(evidence.level.r[d, here])), float(_share(evidence.summed.r[d, here], True))
    return DimMeaning("unknown", "none", None, 0, 0.0, absolute, delta, normalized)


def _unless_other_dim(evidence: _Evidence, d: int, found: DimMeaning) -> DimMeaning:
    """Returns the answer of the state dim with the same number, or unknown if another state dim contradicts it as clearly.

    States of simulators contain speeds as well as positions. An action that is a delta of a position looks like its speed.
    """
    delta = float(_share(evidence.summed.r[d], True).max())
    if found.meaning != "absolute" or delta < OTHER_DIM_WELL or 1 - delta > max(2 * (1 - found.absolute), 0.05):
        return found
    return replace(found, meaning="unknown", strength="none", state=None)


def _share(r: Any, signed: bool = False) -> Any:
    """Returns the share of the movement that a correlation explains.

    Unless `signed`, a negative correlation explains nothing: an absolute action moves with its state, not against it.
    """
    return np.square(r) if signed else np.square(np.maximum(r, 0.0))


def _judge(evidence: _Evidence, d: int, s: int, normalized: bool, enough: bool) -> DimMeaning:
    absolute, delta = float(_share(evidence.level.r[d, s])), float(_share(evidence.summed.r[d, s], True))
    against = evidence.level.r[d, s] ** 2
    if evidence.level.r[d, s] < 0 and against > FITS and delta < FITS / 2 and evidence.level_steps.r[d, s] < -0.5:
        absolute = float(against)  # opposite signs, such as a command to close and a measured opening
    meaning: Meaning = "absolute" if absolute > delta else "delta"
    share, other = max(absolute, delta), min(absolute, delta)
    followed = evidence.level if meaning == "absolute" else evidence.summed
    stepwise = float(evidence.level_steps.r[d, s] ** 2), float(evidence.steps.r[d, s] ** 2)
    for_it, against_it = stepwise if meaning == "absolute" else stepwise[::-1]
    clear = share >= FITS and 1 - share < BETTER * (1 - other)
    if evidence.alike[d, s] and not (clear and meaning == "delta"):
        meaning, followed, clear = "absolute", evidence.level, True
    elif not clear or against_it > max(2 * for_it, 0.2):
        return DimMeaning("unknown", "none", None, 0, 0.0, absolute, delta, normalized)
    sure = share >= FITS_WELL and 1 - share < MUCH_BETTER * (1 - other) and for_it > against_it
    strength: Strength = "strong" if sure and enough else "some"
    lag, gain = int(followed.lag[d, s]), float(followed.gain[d, s])
    return DimMeaning(meaning, strength, s, lag, gain, absolute, delta, normalized)


def _with_velocities(dims: list[DimMeaning], hz: float | None) -> list[DimMeaning]:
    """Calls deltas per second velocities. They are larger than movements per step, by the number of steps per second."""
    deltas = [dim for dim in dims if dim.meaning == "delta" and not dim.normalized]
    strong = [dim for dim in deltas if dim.strength == "strong"] or deltas
    if hz is None or not strong or 1 / PER_STEP**2 < hz < PER_STEP**2:
        return dims
    ratio = float(np.median([abs(dim.gain) for dim in strong])) / hz
    if not 1 / PER_STEP < ratio < PER_STEP:
        return dims
    return [
        replace(dim, meaning="velocity") if dim in deltas and 1 / 2 < abs(dim.gain) / hz < 2 else dim for dim in dims
    ]
