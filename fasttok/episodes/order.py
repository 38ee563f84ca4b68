"""Checks that rows are one episode, step after step: it looks for marks of an end, missing frames and gaps in time.

Chunks are cut from neighbouring rows, so a reader that overlooks one of these makes actions that no robot ever took.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError

EPISODE_COLUMNS = ("episode", "episode_index", "episode_id")
EPISODE_MARKS = (
    *EPISODE_COLUMNS, "episode_idx", "episode_number", "traj_id", "traj_index", "trajectory_id", "trajectory_index",
    "demo_id", "demo_index",
)  # fmt: skip
"""Columns that tell episodes apart in formats that need no column for it. Parquet files of questions may have such names, too."""
FRAME_COLUMNS = ("frame_index", "step_index", "frame", "step")
EPISODE_ENDS = "episode_ends"
ENDS = ("terminals", "timeouts", "dones", "done", "is_last", "terminated", "truncated")
GAP = 1.5  # if two time stamps are more than so many steps apart, a step is missing
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # units per second
OFF = 0.1  # share by which the usual step may differ from the declared one


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts demo_9 before demo_10, and file-999 before file-1000."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def frame_column(names: list[str]) -> str:
    """Returns the column that numbers the steps of an episode, "" if there is none.

    >>> frame_column(["action", "frame_index"])
    'frame_index'
    """
    return next((name for name in FRAME_COLUMNS if name in names), "")


def several(columns: Mapping[str, Any]) -> str:
    """Returns why the rows of step columns are several episodes, "" if no column says so.

    >>> several({"action": np.zeros((3, 2)), "timeouts": np.array([0, 1, 0])})
    "'timeouts' marks 1 end(s) before the last step, the first at step 1"
    """
    for name in ENDS:
        if name in columns and np.ndim(columns[name]) <= 2:
            marks = np.asarray(columns[name]).reshape(len(columns[name]), -1)
            if marks.shape[1] == 1 and marks.dtype.kind in "fiub":
                on = marks[:, 0] != 0
                ends = np.flatnonzero(on[:-1] & ~on[1:])
                if len(ends):
                    return f"{name!r} marks {len(ends)} end(s) before the last step, the first at step {ends[0]}"
    if "is_first" in columns:
        first = np.flatnonzero(np.asarray(columns["is_first"]).reshape(-1)[1:])
        if len(first):
            return f"'is_first' marks {len(first)} more beginning(s), the first at step {first[0] + 1}"
    for name in EPISODE_MARKS:
        if name in columns and np.ndim(columns[name]) == 1:
            kinds = len(np.unique(np.asarray(columns[name])))
            if kinds > 1:
                return f"{name!r} has {kinds} values"
    return ""


def episode_starts(columns: Mapping[str, NDArray[Any]], where: str) -> list[int]:
    """Returns the first row of each episode, from columns that mark ends or beginnings or that number the episodes.

    An episode ends at each row in which `timeouts` is set. If another mark of an end is set in several neighbouring rows, the
    episode ends at the last of them, because a goal that is reached stays reached.

    Args:
        columns: the columns of ENDS, `is_first` and EPISODE_MARKS that the data has.
        where: the file, for messages.

    Raises:
        InputError: the columns have different lengths, or the rows of an episode do not follow each other.

    >>> episode_starts({"terminals": np.array([0, 1, 1, 0, 0]), "timeouts": np.array([0, 0, 0, 1, 0])}, "x.hdf5")
    [0, 3, 4]
    """
    rows = {name: len(values) for name, values in columns.items()}
    if len(set(rows.values())) > 1:
        raise InputError(f"{where}: columns that mark episodes have different lengths: {rows}; which rows are steps?")
    starts = {0}
    for name, values in columns.items():
        marks = values.reshape(len(values), -1)
        if marks.shape[1] != 1 or marks.dtype.kind not in "fiubSO":
            continue
        if name in EPISODE_MARKS:
            if marks.dtype.kind == "f" and np.isnan(marks).any():
                raise InputError(
                    f"{where}: column {name!r} has rows without a value, so their episode is not known; fill them in"
                )
            changes = np.flatnonzero(marks[1:, 0] != marks[:-1, 0]) + 1
            if len(set(marks[:, 0].tolist())) != len(changes) + 1:
                raise InputError(f"{where}: the rows of an episode ({name!r}) do not follow each other; sort the rows")
            starts.update(changes.tolist())
        elif marks.dtype.kind in "fiub":
            on = marks[:, 0] != 0
            if name == "is_first":
                starts.update(np.flatnonzero(on).tolist())
            else:
                last = on[:-1] & ~on[1:] if name != "timeouts" else on[:-1]
                starts.update((np.flatnonzero(last) + 1).tolist())
    return sorted(starts)


def cut_at_ends(ends: Sequence[int], rows: int, where: str) -> list[tuple[int, int]]:
    """Returns (first row, one past the last row) of each episode, from the row after each one, as Diffusion Policy stores them.

    Args:
        ends: the row after the last one of each episode.
        rows: number of rows of the actions.
        where: the file, and the name of the ends in it, for messages.

    Raises:
        InputError: the ends do not rise to the number of rows.

    >>> cut_at_ends([4, 5, 10], 10, "x.hdf5: episode_ends")
    [(0, 4), (4, 5), (5, 10)]
    """
    found = list(pairwise([0, *ends]))
    if (ends[-1] if ends else 0) != rows or any(stop <= start for start, stop in found):
        raise InputError(
            f"{where} must rise to the number of rows of the actions, {rows}; it ends in {list(ends[-3:])}"
        )
    return found


def frame_fault(frames: NDArray[Any], whole: bool = False) -> str:
    """Returns why numbered rows are not the steps of one episode in order, "" if they are.

    Args:
        frames: (T,) number of each row.
        whole: whether the numbers must be 0, 1, 2 ...; otherwise they may begin anywhere and grow by any constant step.

    >>> frame_fault(np.array([0, 1, 2, 4]))
    'frame 4 follows frame 2'
    """
    if frames.dtype.kind not in "fiu":
        return ""
    frames = frames.astype(np.int64) if frames.dtype.kind == "u" else frames  # so that differences can be negative
    if not np.isfinite(frames).all():
        return "a row has no frame number"
    if whole and frames[0] != 0:
        return f"the first frame is {frames[0]}, expected 0: its beginning is missing"
    steps = np.diff(frames)
    if not len(steps):
        return ""
    usual = 1 if whole else np.median(steps)
    odd = np.flatnonzero((steps != usual) | (steps <= 0))
    return f"frame {frames[odd[0] + 1]} follows frame {frames[odd[0]]}" if len(odd) else ""


def rows_fault(steps: Mapping[str, Any], hz: float | None = None, whole: bool = False) -> str:
    """Returns why the frame numbers or time stamps of an episode do not fit neighbouring steps, "" if they do.

    Args:
        steps: the episode's columns.
        hz: the declared control frequency, None if it is not recorded.
        whole: whether the frame numbers must be 0, 1, 2 ...
    """
    frames, times = steps.get(frame_column(list(steps))), steps.get("timestamp")
    fault = frame_fault(frames, whole) if isinstance(frames, np.ndarray) and frames.ndim == 1 else ""
    if not fault and isinstance(times, np.ndarray) and times.ndim == 1 and times.dtype.kind in "fiumM":
        fault = time_fault(times, hz)
    return fault


def time_fault(times: NDArray[Any], hz: float | None) -> str:
    """Returns why time stamps are not evenly spaced steps of a frequency, "" if they are.

    Args:
        times: (T,) in seconds, milli-, micro- or nanoseconds (see `time_unit`), datetime64 or timedelta64.
        hz: the declared control frequency; None if it is not recorded, and then the median distance of the stamps is used.

    >>> time_fault(np.array([0.0, 0.1, 0.2, 0.5]), 10.0)
    'timestamp goes from 0.2 s to 0.5 s at step 3, expected a step of 0.1 s'
    >>> time_fault(np.array([0, 100, 200, 500]), 10.0)
    'timestamp goes from 200 ms to 500 ms at step 3, expected a step of 100 ms'
    """
    times, clock = times.reshape(-1), times.dtype.kind in "mM"
    if clock:
        if np.isnat(times).any():
            return f"timestamp is missing at step {np.flatnonzero(np.isnat(times))[0]}"
        times = times.astype(f"{times.dtype.kind}8[ns]").astype(np.int64)
    if times.dtype.kind == "f":
        times = np.asarray(times, np.float64)
        if len(times) > 1 and not np.isfinite(times).all():
            return f"timestamp is {times[~np.isfinite(times)][0]} at step {np.flatnonzero(~np.isfinite(times))[0]}"
    elif times.dtype.kind in "iu":
        times = times.astype(np.int64)  # int64 is exact; float64 is not for nanoseconds since 1970
    steps = np.diff(times).astype(np.float64)
    if not len(steps):
        return ""
    usual = float(np.median(steps))
    unit = "ns" if clock else time_unit(times, usual, hz)
    a_second = UNITS[unit]
    step = usual if hz is None else a_second / hz
    if hz is not None and len(steps) >= 3 and abs(usual - step) > OFF * step:
        return f"timestamp grows by {usual:.4g} {unit} a step, but fps {hz:g} means {step:.4g} {unit}"
    odd = np.flatnonzero((steps > GAP * step) | (steps <= 0))
    if not len(odd):
        return ""
    at = odd[0] + 1
    before, after = (f"{time:.6g}" if times.dtype.kind == "f" else str(time) for time in times[at - 1 : at + 1])
    return f"timestamp goes from {before} {unit} to {after} {unit} at step {at}, expected a step of {step:.4g} {unit}"


def time_unit(times: NDArray[Any], usual: float, hz: float | None) -> str:
    """Returns the unit of time stamps: the one in which their usual step fits the frequency, or else one that fits their size.

    Args:
        times: (T,) numbers.
        usual: median distance of neighbouring time stamps.
        hz: the declared control frequency, None if it is not recorded.

    >>> time_unit(np.array([1_700_000_000_000, 1_700_000_000_050]), 50, None), time_unit(np.array([0, 50_000_000]), 50e6, 20)
    ('ms', 'ns')
    """
    if hz is not None:
        fitting = [unit for unit, a_second in UNITS.items() if abs(usual * hz / a_second - 1) <= OFF]
        if fitting:
            return fitting[0]
    since_1970 = np.abs(np.float64(times[0]))
    for unit, first, step in (("ns", 1e17, 1e6), ("us", 1e14, 1e3), ("ms", 1e11, 2)):
        if since_1970 >= first or (times.dtype.kind != "f" and usual >= step and since_1970 < 1e9):
            return unit
    return "s"
