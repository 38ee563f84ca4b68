"""Finds the columns that are the action and the state, from the dataset's entry or by their usual names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import DatasetEntry, FeatureColumns
from fasttok.episodes.episode import ACTIONS

STATES = (
    "observation.state", "observation/state", "state", "observations/qpos", "obs/state", "observation/proprio", "proprio",
    "qpos", "observation.qpos", "observation/qpos", "robot_state", "obs/joint_states", "observations",
)  # fmt: skip
BELOW = ("observation/", "observation.", "observations/", "obs/", "state/")
NO_STATE = (
    "timestamp", "time", "index", "reward", "done", "discount", "embedding", "depth", "image", "success", "terminal",
)  # fmt: skip
WIDEST_STATE = 64  # columns of one feature; a wider one is an embedding or pixels
GRIPPERS = ("gripper", "grip", "finger", "claw", "jaw")


@dataclass(frozen=True)
class StepColumn:
    """A column of a step feature: one number per step.

    Attributes:
        feature: name of the step feature.
        column: its number in the feature, counted from 0.
        name: its name, such as x, "" if none is known.
        part: number of the entry's part that contains it, counted from 0; 0 without an entry.
        meaning: the entry's part that contains it; None without an entry.
        scale: factor that stored values are multiplied by, from the entry.
    """

    feature: str
    column: int
    name: str = ""
    part: int = 0
    meaning: FeatureColumns | None = None
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{self.feature}[{self.column}]" + (f" ({self.name})" if self.name else "")

    def called(self, kind: str) -> str:
        """Returns its name, with `kind` before it if the feature's name does not contain `kind`.

        >>> StepColumn("qpos", 1).called("state"), StepColumn("action", 0).called("action")
        ('state qpos[1]', 'action[0]')
        """
        return str(self) if kind in self.feature.lower() else f"{kind} {self}"

    @property
    def gripper(self) -> bool:
        """Whether it belongs to a gripper: as the entry says, or without an entry by its name."""
        return self.meaning.encoding == "gripper" if self.meaning is not None else self.called_gripper

    @property
    def called_gripper(self) -> bool:
        """Whether it belongs to a gripper by its name."""
        return any(word in f"{self.feature} {self.name}".lower() for word in GRIPPERS)


@dataclass(frozen=True)
class DatasetColumns:
    """The columns that are the action and the state.

    Attributes:
        action: columns of the action, in order.
        state: columns of the state, in order.
    """

    action: tuple[StepColumn, ...]
    state: tuple[StepColumn, ...]

    def pairs(self) -> list[int | None] | None:
        """Returns for each action column the number of the state column with the same name, or None.

        None means that no state column has the name, or several have it. If the action's name itself is not there, it is looked
        for without its prefix delta_, and then without a d, as in dx. If no names match at all, it returns None instead of a
        list.

        >>> column = lambda name: StepColumn("f", 0, name)
        >>> columns = map(column, ("delta_door", "dx", "door"))
        >>> DatasetColumns(tuple(columns), (column("x"), column("door"))).pairs()
        [1, 0, 1]
        """
        names = [column.name.lower() for column in self.state]
        found: list[int | None] = []
        for column in self.action:
            name = column.name.lower()
            base = name.removeprefix("delta_")
            same = next((n for n in (name, base, base.removeprefix("d")) if n and names.count(n) == 1), None)
            found.append(None if same is None else names.index(same))
        return found if any(place is not None for place in found) else None


def find_columns(entry: DatasetEntry | None, episode: Episode) -> DatasetColumns:
    """Returns the columns of an episode that the entry names, or without an entry those with usual names.

    >>> episode = Episode({"action": np.zeros((4, 2)), "observation.state": np.zeros((4, 1))})
    >>> [str(c) for c in find_columns(None, episode).action], len(find_columns(None, episode).state)
    (['action[0]', 'action[1]'], 1)
    """
    if entry is not None:
        return DatasetColumns(_of_entry(entry.action, episode), _of_entry(entry.proprio, episode))
    widths = {name: width(values) for name, values in episode.steps.items()}
    widths = {name: number for name, number in widths.items() if number}
    action = [name for name in ACTIONS if name in widths][:1] or _below(widths, ("action/", "action.", "actions/"))
    state = [name for name in STATES if name in widths and widths[name] <= WIDEST_STATE][:1]
    state = state or [name for name in _below(widths, BELOW) if _may_be_state(name, widths[name])]
    names = _named(episode, "action")
    return DatasetColumns(
        tuple(_all(action, widths, names or _each(episode, action, widths))),
        tuple(_all(state, widths, _state_names(episode, names, state, widths) or _each(episode, state, widths))),
    )


def values_of(columns: Sequence[StepColumn], episode: Episode) -> NDArray[np.float64]:
    """Returns the columns side by side, (T, D) float64; a column that this episode lacks is NaN."""
    table = np.full((episode.length, len(columns)), np.nan)
    tables: dict[str, NDArray[np.float64] | None] = {}
    for d, column in enumerate(columns):
        if column.feature not in tables:
            values = episode.steps.get(column.feature)
            known = values is not None and width(values) and len(values) == episode.length
            tables[column.feature] = np.asarray(values, np.float64).reshape(len(values), -1) if known else None  # type: ignore[arg-type]
        found = tables[column.feature]
        if found is not None and column.column < found.shape[1]:
            table[:, d] = found[:, column.column] * column.scale
    return table


def width(values: Any) -> int:
    """Returns the width of a step feature: its numbers per step, or 0 if it is not a row of numbers."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or values.ndim not in (1, 2, 3):
        return 0
    size = int(np.prod(values.shape[1:], dtype=np.int64))
    return size if values.ndim < 3 or size <= WIDEST_STATE else 0


def _of_entry(parts: Iterable[FeatureColumns], episode: Episode) -> tuple[StepColumn, ...]:
    found = []
    for number, part in enumerate(parts):
        values = episode.steps.get(part.feature)
        stop = part.stop
        if stop is None:
            stop = part.start + len(part.names) if part.names else width(values)
        for i, column in enumerate(range(part.start, stop)):
            name = part.names[i] if i < len(part.names) else ""
            scale = part.scale[i] if isinstance(part.scale, tuple) else part.scale
            found.append(StepColumn(part.feature, column, name, number, part, float(scale)))
    return tuple(found)


def _all(features: Sequence[str], widths: dict[str, int], names: Sequence[str]) -> Iterable[StepColumn]:
    total = sum(widths[feature] for feature in features)
    names = names if len(names) == total else [""] * total
    at = 0
    for feature in features:
        for column in range(widths[feature]):
            yield StepColumn(feature, column, names[at])
            at += 1


def _state_names(episode: Episode, names: Sequence[str], state: Sequence[str], widths: dict[str, int]) -> list[str]:
    """Returns the recorded names of the state's columns, or those of the action if it has as many columns, or []."""
    recorded = _named(episode, "state")
    total = sum(widths[feature] for feature in state)
    return recorded if len(recorded) == total else list(names) if len(names) == total else []


def _named(episode: Episode, which: str) -> list[str]:
    """Returns the recorded names of the columns of `which`: action, state or a feature; [] if there are none."""
    columns = episode.metadata.get("columns")
    found = columns.get(which) if isinstance(columns, dict) else None
    return [str(name) for name in found or episode.metadata.get(f"{which}_names") or ()]


def _each(episode: Episode, features: Sequence[str], widths: dict[str, int]) -> list[str]:
    """Returns the recorded names of the columns of several features, "" for an unnamed one; [] if all are unnamed."""
    found = {feature: _named(episode, feature) for feature in features}
    known = {feature: names if len(names) == widths[feature] else [] for feature, names in found.items()}
    return [n for f in features for n in known[f] or [""] * widths[f]] if any(known.values()) else []


def _below(widths: dict[str, int], prefixes: tuple[str, ...]) -> list[str]:
    return sorted(name for name in widths if name.startswith(prefixes))


def _may_be_state(name: str, columns: int) -> bool:
    return columns <= WIDEST_STATE and not any(word in name.lower() for word in NO_STATE)
