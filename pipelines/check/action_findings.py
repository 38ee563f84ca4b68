"""Checks whether actions are what the entry says (absolute or delta). Without an entry, suggests what to write."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipelines.check.action_meaning import DimMeaning, Meaning, PartMeaning, action_meanings, part_meaning
from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding, FoundAt
from pipelines.check.sampled import EpisodeSample, SampledEpisode

MOST_STEPS = 60_000  # no further episode is measured after so many steps
SHOWN = 120  # steps that are drawn
PER_SECOND = ("/s", "per s", "per second", "velocity", "speed")


def measured(sample: EpisodeSample) -> list[DimMeaning]:
    """Measures what each action dim is, by comparing it with the state."""
    episodes, steps = [], 0
    for episode in sample.usual():
        if steps < MOST_STEPS:
            episodes.append(episode)
            steps += len(episode.action)
    hz, pairs = sample.hz, sample.columns.pairs()
    if not sample.columns.state:
        return [DimMeaning("unknown", "none")] * len(sample.columns.action)
    return action_meanings([e.action for e in episodes], [e.state for e in episodes], hz, pairs)


def check_actions(sample: EpisodeSample, dims: Sequence[DimMeaning]) -> list[DatasetFinding]:
    """Compares the measured meanings with the entry. Without an entry, suggests what to write into it.

    Args:
        sample: the episodes that were read.
        dims: measured meaning of each action dim.
    """
    columns = sample.columns.action
    if not columns or not sample.usual():
        return []
    if not sample.columns.state:
        what = "no state is recorded beside the actions, so nothing tells whether they are absolute or deltas"
        todo = "say it in the entry: encoding: absolute or encoding: delta"
        return [DatasetFinding("note", "action-meaning", FoundAt(dim=columns[0].feature), what, todo)]
    findings = []
    switches = _switches(sample)
    for part in _parts(columns, dims, switches):
        if not columns[part[0]].gripper and part[0] not in switches:
            findings += _part(sample, [dims[d] for d in part], part)
    return findings + _same_as_state(sample, dims)


def _switches(sample: EpisodeSample) -> set[int]:
    """Returns the dims without an entry that have exactly two values, such as a gripper that is open or closed."""
    joined = np.concatenate([episode.action for episode in sample.usual()])
    return {
        d
        for d, column in enumerate(sample.columns.action)
        if column.meaning is None and len(np.unique(joined[np.isfinite(joined[:, d]), d])) == 2
    }


def _parts(columns: Sequence[StepColumn], dims: Sequence[DimMeaning], switches: set[int]) -> list[list[int]]:
    """Groups dims that belong together: the dims of a part of the entry, or without an entry neighbours that are alike.

    Neighbours are alike if their feature, their meaning, and whether they are a gripper are the same. A dim whose meaning is
    unknown joins the dims before it.
    """
    if all(column.meaning is not None for column in columns):
        return [list(group) for _, group in groupby(range(len(columns)), key=lambda d: columns[d].part)]
    kinds: list[tuple[str, bool, Meaning]] = []
    for d, (column, dim) in enumerate(zip(columns, dims, strict=True)):
        before = kinds[-1] if kinds else None
        here = column.feature, column.gripper or d in switches
        told = dim.meaning != "unknown"
        same = before is not None and before[:2] == here
        kinds.append((*here, dim.meaning if told or not same or before is None else before[2]))
    return [list(group) for _, group in groupby(range(len(columns)), key=lambda d: kinds[d])]


def _part(sample: EpisodeSample, dims: list[DimMeaning], part: list[int]) -> list[DatasetFinding]:
    columns = [sample.columns.action[d] for d in part]
    found = part_meaning(dims)
    label = f"{columns[0].feature}[{columns[0].column}:{columns[-1].column + 1}]"
    best = max(range(len(dims)), key=lambda i: (dims[i].meaning == found.meaning, max(dims[i].absolute, dims[i].delta)))
    place = sample.usual()[0].at(dim=label)
    drawings = _drawings(sample, part[best], dims[best])
    declared = columns[0].meaning
    encoding: Meaning = "delta" if found.meaning == "velocity" else found.meaning
    evidence = f"{found.dims} of {found.of} dims, such as {columns[best]}: {dims[best]}"
    slices = (
        f"{{from: {columns[0].feature}, slice: [{columns[0].column}, {columns[-1].column + 1}], encoding: {encoding}}}"
    )
    if declared is None:
        if found.meaning == "unknown":
            what = f"{label}: the state does not tell whether this is absolute or a delta: {dims[best]}"
            todo = "say it in the entry: encoding: absolute or encoding: delta"
            return [DatasetFinding("note", "action-meaning", place, what, todo, drawings=drawings)]
        what = f"{label} is {_article(found.meaning)} ({found.strength} evidence: {evidence})"
        return [
            DatasetFinding("note", "action-meaning", place, what, "write it into the entry", slices, drawings=drawings)
        ]
    if found.meaning == "unknown" or found.strength != "strong":
        return []
    if encoding != declared.encoding:
        return [_contradiction(place, label, found, declared.encoding, evidence, slices, drawings)]
    timed = any(word in declared.unit.lower() for word in PER_SECOND)
    if found.meaning == "velocity" and declared.unit and not timed:
        what = f"{label} has the unit {declared.unit!r}, and is a velocity, one per second: {evidence}"
        todo = f"write unit: {declared.unit}/s, or scale: {1 / (sample.hz or 1):.6g} to make it a movement per step"
        return [DatasetFinding("warning", "action-meaning", place, what, todo, drawings=drawings)]
    return []


def _contradiction(
    place: FoundAt,
    label: str,
    found: PartMeaning,
    declared: str,
    evidence: str,
    slices: str,
    drawings: tuple[Curves, ...],
) -> DatasetFinding:
    harm = (
        "a delta would be taken of what is a delta already (relative actions subtract the state from it)"
        if declared == "absolute"
        else "positions would be treated as movements"
    )
    what = f"{label}: the entry says {declared}, and it is {_article(found.meaning)}: {evidence}"
    return DatasetFinding(
        "error", "action-meaning", place, what, f"correct the entry: {harm}", slices, drawings=drawings
    )


def _article(meaning: Meaning) -> str:
    return {
        "absolute": "absolute",
        "delta": "a delta already",
        "velocity": "a velocity (a delta per second)",
        "unknown": "unknown",
    }[meaning]


def _same_as_state(sample: EpisodeSample, dims: Sequence[DimMeaning]) -> list[DatasetFinding]:
    """Finds actions that equal the state of the same step. The commands that the robot got are then not recorded."""
    episodes = sample.usual()
    a, s = (np.concatenate(tables) for tables in ([e.action for e in episodes], [e.state for e in episodes]))
    same = [
        d
        for d, dim in enumerate(dims)
        if dim.meaning == "absolute"
        and dim.state is not None
        and not sample.columns.action[d].gripper
        and np.ptp(a[:, d]) > 0
        and np.array_equal(a[:, d], s[:, dim.state])
    ]
    if not same or 2 * len(same) < len(dims):
        return []
    what = f"{len(same)} of {len(dims)} action dims equal the state of the same step exactly: these are no commands"
    todo = "use the state of the next step as the action, or record what the robot was told"
    return [
        DatasetFinding("warning", "action-is-state", episodes[0].at(dim=sample.columns.action[same[0]]), what, todo)
    ]


def _drawings(sample: EpisodeSample, d: int, dim: DimMeaning) -> tuple[Curves, ...]:
    """Draws the action and the sum of the actions, each beside the state. One of the two should follow the state."""
    state = dim.state if dim.state is not None else d if d < len(sample.columns.state) else None
    if state is None:
        return ()
    episode = max(sample.usual(), key=lambda e: _moves(e, d))
    a, s = episode.action[:SHOWN, d], episode.state[:SHOWN, state]
    name, other = str(sample.columns.action[d]), str(sample.columns.state[state])
    place = "place in its own range (0 to 1)"
    return (
        Curves(f"if absolute: {name} beside {other}", {"action": _unit(a), "state": _unit(s)}, y_label=place),
        Curves(
            "if a delta: the sum of the actions beside the state",
            {"sum of actions": _unit(np.cumsum(a)), "state": _unit(s)},
            y_label=place,
        ),
    )


def _moves(episode: SampledEpisode, d: int) -> float:
    values = episode.action[:SHOWN, d]
    return float(np.std(values)) if np.isfinite(values).all() and len(values) > 3 else -1.0


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scales values to [0, 1]."""
    span = float(np.nanmax(values) - np.nanmin(values))
    scaled: NDArray[np.float64] = (values - np.nanmin(values)) / (span or 1.0)
    return scaled
