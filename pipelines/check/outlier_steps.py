"""Finds single steps that no robot made: values far outside all others, jumps, and angles that wrap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding, Severity
from pipelines.check.sampled import EpisodeSample

FAR = 10.0  # a value this far from the middle is far away, in half ranges of the 1st to the 99th percentile
RARE = 0.002  # if a larger share of steps is far away, they are no outliers
JUMP = 8.0  # times the 99.5th percentile of a dim's movements: a jump is larger
OF_RANGE = 0.4  # share of the usual range that a jump must cover
TURNS = ((2 * np.pi, 0.5, "rad"), (360.0, 25.0, "degrees"))
AROUND = 40  # steps that are drawn before and after the place


@dataclass
class _Worst:
    """The worst place of one dim.

    Attributes:
        episode: number of the episode in the sample.
        step: step in the episode.
        size: how bad it is; larger is worse.
        count: number of steps like this.
    """

    episode: int
    step: int
    size: float
    count: int


def check_outliers(sample: EpisodeSample) -> list[DatasetFinding]:
    """Checks every dim of the action and of the state."""
    findings = []
    for kind, columns, tables in sample.tables():
        drawn = _Drawn(kind, columns, tables, sample)
        wraps = {d: worst for d in range(len(columns)) if (worst := _wraps(tables, d))}
        findings += drawn.findings("angle-wrap", wraps)
        far = {d: worst for d in range(len(columns)) if not columns[d].gripper and (worst := _outliers(tables, d))}
        findings += drawn.findings("outlier", far)
        jumps = {
            d: worst
            for d in range(len(columns))
            if d not in wraps and d not in far and not columns[d].gripper and (worst := _jumps(tables, d))
        }
        findings += drawn.findings("jump", jumps)
    return findings


@dataclass(frozen=True)
class _Drawn:
    """Makes findings with their drawings."""

    kind: str
    columns: Sequence[StepColumn]
    tables: list[NDArray[np.float64]]
    sample: EpisodeSample

    def findings(self, check: str, places: dict[int, _Worst]) -> list[DatasetFinding]:
        """Returns one finding for all these dims; it shows the worst of them."""
        if not places:
            return []
        d = max(places, key=lambda dim: places[dim].size)
        worst, column = places[d], self.columns[d]
        episode, table = self.sample.usual()[worst.episode], self.tables[worst.episode]
        steps = sum(place.count for place in places.values())
        values = f"{table[worst.step, d]:.6g}" if check == "outlier" else (
            f"{table[max(worst.step - 1, 0), d]:.6g} to {table[worst.step, d]:.6g}"
        )  # fmt: skip
        declared = column.meaning is not None and bool(column.meaning.rotation)
        severity, words, todo = {
            "outlier": ("warning", f"is far outside all other values: {values}",
                        "look at the episode; remove it, or filter it out in the entry, if it is a glitch"),
            "jump": ("warning", f"jumps within one step from {values}, far more than it moves otherwise",
                     "look at the episode; cut it there, or remove it, if it is a glitch"),
            "angle-wrap": ("note" if declared else "warning", f"jumps by a whole turn from {values}: the angle wraps",
                           "say in the entry that these columns are a rotation, or unwrap them before writing the data"),
        }[check]  # fmt: skip
        what = f"{column.called(self.kind)} {words}; {steps:,} step(s) in {len(places)} dim(s) are like this"
        entry = (
            "rotation: euler_xyz   # of the part with roll, pitch and yaw; of one column alone: rotation: angle"
            if check == "angle-wrap" and not declared
            else ""
        )
        first = max(0, worst.step - AROUND)
        around = slice(first, worst.step + AROUND)
        mark = (worst.step - first, worst.step - first)
        drawings = [Curves(f"{column}, from step {first + episode.dropped}", {self.kind: table[around, d]}, mark)]
        beside = self._beside(d)
        if beside is not None:
            name, number = beside
            other = (episode.state if self.kind == "action" else episode.action)[around, number]
            drawings.append(
                Curves(f"{name}, the same steps", {"state" if self.kind == "action" else "action": other}, mark)
            )
        level: Severity = "note" if severity == "note" else "warning"
        return [DatasetFinding(level, check, episode.at(worst.step, column), what, todo, entry, steps, tuple(drawings))]

    def _beside(self, d: int) -> tuple[StepColumn, int] | None:
        """Returns the state dim that an action dim moves, or the action dim that moves a state dim: by names, or by number."""
        columns = self.sample.columns
        pairs = columns.pairs() or [None] * len(columns.action)
        states = [n if pair is None else pair for n, pair in enumerate(pairs)]
        if self.kind == "action":
            return (columns.state[states[d]], states[d]) if states[d] < len(columns.state) else None
        return (columns.action[states.index(d)], states.index(d)) if d in states else None


def _outliers(tables: list[NDArray[np.float64]], d: int) -> _Worst | None:
    values = np.concatenate([table[:, d] for table in tables])
    finite = values[np.isfinite(values)]
    if len(finite) < 50:
        return None
    low, high = np.quantile(finite, [0.01, 0.99])
    middle, half = (low + high) / 2, (high - low) / 2
    if half <= 1e-9 * max(abs(middle), 1e-3):
        return None
    away = np.where(np.isfinite(values), np.abs(values - middle) / half, 0.0)
    return _place(away, FAR, tables) if 0 < (away > FAR).sum() <= max(3, RARE * len(values)) else None


def _jumps(tables: list[NDArray[np.float64]], d: int) -> _Worst | None:
    """Finds steps that are much larger than the usual steps of the dim."""
    moves = np.concatenate([np.abs(np.diff(table[:, d], prepend=table[:1, d])) for table in tables])
    values = np.concatenate([table[:, d] for table in tables])
    finite = np.isfinite(moves)
    if finite.sum() < 50 or len(np.unique(values[:2000])) < 10:
        return None
    low, high = np.quantile(values[finite], [0.01, 0.99])
    usual = float(np.quantile(moves[finite], 0.995))
    limit = max(JUMP * usual, OF_RANGE * (high - low))
    if usual <= 0 or high <= low:
        return None
    size = np.where(finite, moves / limit, 0.0)
    return _place(size, 1.0, tables) if 0 < (size > 1.0).sum() <= max(4, RARE * len(values)) else None


def _wraps(tables: list[NDArray[np.float64]], d: int) -> _Worst | None:
    """Finds jumps by a whole turn in an angle that otherwise moves in small steps."""
    values = np.concatenate([table[:, d] for table in tables])
    moves = np.concatenate([np.abs(np.diff(table[:, d], prepend=table[:1, d])) for table in tables])
    finite = moves[np.isfinite(moves)]
    if not len(finite):
        return None
    for turn, off, _ in TURNS:
        before = np.concatenate([np.concatenate([table[:1, d], table[:-1, d]]) for table in tables])
        ends = (_at_end(before, turn) & _at_end(values, turn)) & (np.abs(moves - turn) < off)
        again = np.concatenate([ends[1:], [False]]) | np.concatenate([[False], ends[:-1]])
        wraps = np.where(ends & ~again, moves, 0.0)  # a single value far away and back is a glitch
        small = finite[finite < turn - off]
        within = np.nanmax(np.abs(values)) <= turn * 1.02
        quiet = len(small) and float(np.quantile(small, 0.99)) < turn / 6 and len(small) >= 0.7 * len(finite)
        if (wraps > 0).any() and within and quiet and len(np.unique(values)) > 10:
            return _place(wraps, 0.0, tables)
    return None


def _at_end(values: NDArray[np.float64], turn: float) -> NDArray[np.bool_]:
    """Returns whether angles are near an end of their range, be it [-half a turn, half a turn] or [0, a turn]."""
    size = np.abs(values) / turn
    return np.asarray((size < 0.12) | (np.abs(size - 0.5) < 0.12) | (np.abs(size - 1.0) < 0.12))


def _place(size: NDArray[np.float64], limit: float, tables: list[NDArray[np.float64]]) -> _Worst:
    at = int(np.argmax(size))
    starts = np.cumsum([0, *map(len, tables)])
    episode = int(np.searchsorted(starts, at, side="right")) - 1
    return _Worst(episode, at - int(starts[episode]), float(size[at]), int((size > limit).sum()))
