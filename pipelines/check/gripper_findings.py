"""Checks grippers: whether the entry's ends fit the values, and whether command and state open in the same direction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding, Severity
from pipelines.check.gripper_ends import follows, gripper_ends, two_ends
from pipelines.check.sampled import EpisodeSample
from pipelines.datasets.grippers import opening

BEYOND = 0.1  # of the way from closed to open: how far values may be beyond an end
USED = 0.3  # of the way from closed to open: how much of it values must cover
AGAINST = -0.5  # two openings are opposed if their correlation is below this
MOVES = 0.2  # of the way from closed to open: how much of it both must cover to be compared
BEGIN_OPEN = 0.95  # share of episodes that must begin at the largest width
FEWEST = 10  # with fewer episodes, how they begin says nothing


def check_grippers(sample: EpisodeSample) -> list[DatasetFinding]:
    """Checks the gripper dims of the action and of the state."""
    if not sample.usual():
        return []
    findings = []
    for kind, columns in (("action", sample.columns.action), ("state", sample.columns.state)):
        for d, column in enumerate(columns):
            if column.meaning is not None and column.meaning.encoding == "gripper":
                findings += _ends(sample, kind, d, column)
    findings += _opposed(sample)
    for d, column in enumerate(sample.columns.action):
        if column.meaning is None:
            findings += _advice(sample, d, column)
    return findings


def _ends(sample: EpisodeSample, kind: str, d: int, column: StepColumn) -> list[DatasetFinding]:
    """Reports values beyond the entry's ends, and ends that are never reached."""
    assert column.meaning is not None
    closed, opened = float(column.meaning.closed), float(column.meaning.open)
    tables = [e.action[:, d] if kind == "action" else e.state[:, d] for e in sample.usual()]
    values = np.concatenate(tables)
    values = values[np.isfinite(values)]
    if not len(values) or column.meaning.relative:
        return []
    share = (values - closed) / (opened - closed)
    beyond = float(((share < -BEYOND) | (share > 1 + BEYOND)).mean())
    low, high = (float(end) for end in np.quantile(values, [0.005, 0.995]))
    used = abs(high - low) / abs(opened - closed)
    drawing = (Curves(str(column), {kind: max(tables, key=lambda t: float(np.ptp(t)) if len(t) else -1.0)}),)
    place = sample.usual()[0].at(dim=column)
    todo = "correct closed and open in the entry: the stored values that mean closed and open"
    said = f"the entry says closed: {closed:g}, open: {opened:g}"
    entry = f"closed: {low:.3g}, open: {high:.3g}   # or the other way round: look which end is open"
    if beyond > 0.05:
        much = percent(beyond, 0)
        what = f"{column.called(kind)}: {much} of the values lie beyond the ends, from {low:.4g} to {high:.4g}; {said}"
        return [DatasetFinding("error", "gripper-ends", place, what, todo, entry, drawings=drawing)]
    if 0 < used < USED and two_ends(values) is not None:
        what = f"{column.called(kind)} goes from {low:.4g} to {high:.4g} only; {said}, so it would hardly open"
        return [DatasetFinding("warning", "gripper-ends", place, what, todo, entry, drawings=drawing)]
    return []


def _opposed(sample: EpisodeSample) -> list[DatasetFinding]:
    """Reports commands that open the gripper while the state says that it closes."""
    actions = [(d, c) for d, c in enumerate(sample.columns.action) if c.gripper and c.meaning is not None]
    states = [(d, c) for d, c in enumerate(sample.columns.state) if c.gripper and c.meaning is not None]
    if len(actions) == len(states):
        pairs = [(*action, *state) for action, state in zip(actions, states, strict=True)]
        return [finding for pair in pairs for finding in _against_state(sample, *pair)]
    widths = [(d, c) for d, c in enumerate(sample.columns.state) if c.called_gripper]
    if states or len(actions) != len(widths):
        return []
    return [f for action, width in zip(actions, widths, strict=True) for f in _against_width(sample, *action, *width)]


def _against_state(
    sample: EpisodeSample, d: int, column: StepColumn, s: int, state: StepColumn
) -> list[DatasetFinding]:
    """Compares a command with a state that is also a gripper in the entry."""
    assert column.meaning is not None
    commands = [_opening(column, episode.action[:, d]) for episode in sample.usual()]
    widths = [_opening(state, episode.state[:, s]) for episode in sample.usual()]
    r = follows(commands, widths)
    if r >= AGAINST or min(_range(commands), _range(widths)) < MOVES:
        return []
    what = (
        f"{column.called('action')} opens where {state.called('state')} closes (correlation {r:.2f}): one of the two has its "
        "ends the wrong way round"
    )
    todo = "look at a picture of each end, and exchange closed and open of the wrong one"
    entry = f"closed: {column.meaning.open:g}, open: {column.meaning.closed:g}   # of {column}, or those of {state}"
    return [_direction("error", sample, column, what, todo, entry, commands, widths)]


def _against_width(
    sample: EpisodeSample, d: int, column: StepColumn, s: int, state: StepColumn
) -> list[DatasetFinding]:
    """Compares a command with a state that is called a gripper and seems to be a width: episodes begin at its largest value."""
    assert column.meaning is not None
    commands = [_opening(column, episode.action[:, d]) for episode in sample.usual()]
    widths = [episode.state[:, s] for episode in sample.usual()]
    joined = np.concatenate(widths)
    low, high = float(np.nanmin(joined)), float(np.nanmax(joined))
    begins_open = np.mean([width[0] > high - 0.05 * (high - low) for width in widths]) >= BEGIN_OPEN
    r = follows(commands, widths)
    if r >= AGAINST or not begins_open or len(widths) < FEWEST or high <= low or _range(commands) < MOVES:
        return []
    what = (
        f"{column.called('action')} opens where {state.called('state')} falls (correlation {r:.2f}), and almost all episodes "
        f"begin with the state at its largest, {high:.4g}: if that is a width, the action's ends are the wrong way round"
    )
    todo = "look at a picture of each end, and exchange closed and open if they are"
    entry = f"closed: {column.meaning.open:g}, open: {column.meaning.closed:g}   # of {column}"
    return [_direction("warning", sample, column, what, todo, entry, commands, widths)]


def _direction(
    severity: Severity, sample: EpisodeSample, column: StepColumn, what: str, todo: str, entry: str,
    commands: list[NDArray[Any]], widths: list[NDArray[Any]],
) -> DatasetFinding:  # fmt: skip
    shown = max(range(len(commands)), key=lambda i: float(np.ptp(commands[i])))
    drawing = Curves(
        "the action's opening by the entry, and the state", {"action": commands[shown], "state": widths[shown]}
    )
    place = sample.usual()[shown].at(dim=column)
    return DatasetFinding(severity, "gripper-direction", place, what, todo, entry, drawings=(drawing,))


def _range(tables: list[NDArray[Any]]) -> float:
    return float(np.ptp(np.concatenate(tables)))


def _advice(sample: EpisodeSample, d: int, column: StepColumn) -> list[DatasetFinding]:
    """Suggests what to write about a gripper if there is no entry."""
    commands = [episode.action[:, d] for episode in sample.usual()]
    if not column.gripper and len(np.unique(np.concatenate(commands))) != 2:
        return []
    sign = "is a gripper by its name" if column.gripper else "knows two values only, as a gripper does"
    state = next((s for s, c in enumerate(sample.columns.state) if c.gripper), None)
    widths = None if state is None else [episode.state[:, state] for episode in sample.usual()]
    named = sample.columns.state[state] if state is not None else None
    ends = gripper_ends(commands, widths, "" if named is None else f"{named.feature} {named.name}")
    if two_ends(np.concatenate(commands)) is None and ends.strength == "none":
        return []
    place = sample.usual()[0].at(dim=column)
    head = f"{{from: {column.feature}, slice: [{column.column}, {column.column + 1}], encoding: gripper"
    if ends.open is None:
        what = f"{column.called('action')} {sign}; {ends.why}"
        todo = "look at a picture of each end, and write it"
        return [DatasetFinding("note", "gripper-ends", place, what, todo, f"{head}, closed: ?, open: ?}}")]
    what = f"{column.called('action')} {sign}; {ends.open:g} seems to be open ({ends.strength} evidence: {ends.why})"
    entry = f"{head}, closed: {ends.closed:g}, open: {ends.open:g}}}"
    sure = (
        "write it into the entry" if ends.strength == "strong" else "look at a picture of each end before you write it"
    )
    return [DatasetFinding("note", "gripper-ends", place, what, sure, entry)]


def _opening(column: StepColumn, values: NDArray[np.float64]) -> NDArray[np.float32]:
    assert column.meaning is not None
    part = column.meaning
    column_of = values.astype(np.float32)[:, None]
    return np.asarray(opening(column_of, part.closed, part.open, part.relative)[:, 0])
