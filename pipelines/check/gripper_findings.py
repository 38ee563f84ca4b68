"""Grippers: do the entry's ends fit the values, and do command and state open in the same direction?"""

import numpy as np

from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding
from pipelines.check.gripper_ends import gripper_ends, two_ends
from pipelines.check.sampled import EpisodeSample
from pipelines.datasets.grippers import opening

BEYOND = 0.1  # of the way from closed to open, by which values may lie beyond an end
USED = 0.3  # of that way, which values must cover
AGAINST = -0.5  # correlation of two openings from which on they are opposed


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
    """Values beyond the entry's ends, and ends that are never reached."""
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
        what = f"{kind} {column}: {beyond:.0%} of the values lie beyond the ends, from {low:.4g} to {high:.4g}; {said}"
        return [DatasetFinding("error", "gripper-ends", place, what, todo, entry, drawings=drawing)]
    if 0 < used < USED and two_ends(values) is not None:
        what = f"{kind} {column} goes from {low:.4g} to {high:.4g} only; {said}, so it would hardly open"
        return [DatasetFinding("warning", "gripper-ends", place, what, todo, entry, drawings=drawing)]
    return []


def _opposed(sample: EpisodeSample) -> list[DatasetFinding]:
    """A command that opens while the state says that the gripper closes."""
    findings = []
    actions = [(d, c) for d, c in enumerate(sample.columns.action) if c.gripper and c.meaning is not None]
    states = [(d, c) for d, c in enumerate(sample.columns.state) if c.gripper and c.meaning is not None]
    if len(actions) != len(states):
        return []
    for (d, column), (s, state) in zip(actions, states, strict=True):
        best, shown = 0.0, None
        for lag in range(6):
            x, y = [], []
            for episode in sample.usual():
                commands, widths = _opening(column, episode.action[:, d]), _opening(state, episode.state[:, s])
                if len(commands) > lag + 2:
                    x.append(commands[: len(commands) - lag])
                    y.append(widths[lag:])
                    if shown is None and np.ptp(commands) > 0.5:
                        shown = Curves("openings", {"action": commands, "state": widths})
            if not x or np.ptp(np.concatenate(x)) < 0.2 or np.ptp(np.concatenate(y)) < 0.2:
                continue
            r = float(np.corrcoef(np.concatenate(x), np.concatenate(y))[0, 1])
            best = r if abs(r) > abs(best) else best
        if best < AGAINST:
            assert column.meaning is not None
            what = (
                f"action {column} opens where state {state} closes (correlation {best:.2f}): one of the two has its ends "
                "the wrong way round"
            )
            todo = "look at a picture of each end, and exchange closed and open of the wrong one"
            entry = (
                f"closed: {column.meaning.open:g}, open: {column.meaning.closed:g}   # of {column}, or those of {state}"
            )
            place = sample.usual()[0].at(dim=column)
            drawings = () if shown is None else (shown,)
            findings.append(DatasetFinding("error", "gripper-direction", place, what, todo, entry, drawings=drawings))
    return findings


def _advice(sample: EpisodeSample, d: int, column: StepColumn) -> list[DatasetFinding]:
    """What to write about a gripper of which nothing is said yet."""
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
        what = f"action {column} {sign}; {ends.why}"
        return [
            DatasetFinding(
                "note",
                "gripper-ends",
                place,
                what,
                "look at a picture of each end, and write it",
                f"{head}, closed: ?, open: ?}}",
            )
        ]
    what = f"action {column} {sign}; {ends.open:g} seems to be open ({ends.strength} evidence: {ends.why})"
    entry = f"{head}, closed: {ends.closed:g}, open: {ends.open:g}}}"
    return [DatasetFinding("note", "gripper-ends", place, what, "write it into the entry", entry)]


def _opening(column: StepColumn, values: np.ndarray) -> np.ndarray:
    assert column.meaning is not None
    part = column.meaning
    return opening(values.astype(np.float32)[:, None], part.closed, part.open, part.relative)[:, 0]
