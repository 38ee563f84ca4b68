"""Checks columns that the entry calls a rotation: angles that look like degrees, and quaternions whose length is not 1."""

import math

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding
from pipelines.check.sampled import EpisodeSample

MOST_RADIANS = {
    "absolute": 4 * math.pi,
    "delta": math.pi,
}  # the 99th percentile of an angle or of a step's turn is below
OFF_LENGTH = 0.05  # the length of a quaternion is 1, but for the precision in which it is stored
FEW = 0.05  # share of steps that may have another length


def check_rotations(sample: EpisodeSample) -> list[DatasetFinding]:
    """Checks each part of the action and of the state that is a rotation by the entry.

    scipy makes every four numbers a quaternion of length 1 and reads every angle in radians. So wrong columns, or degrees, give
    other rotations without an error.
    """
    findings: list[DatasetFinding] = []
    for kind, columns, tables in sample.tables():
        parts: dict[int, list[int]] = {}
        for d, column in enumerate(columns):
            if column.meaning is not None and column.meaning.rotation:
                parts.setdefault(column.part, []).append(d)
        for dims in parts.values():
            findings += _part(sample, kind, columns[dims[0]], [table[:, dims] for table in tables])
    return findings


def _part(
    sample: EpisodeSample, kind: str, first: StepColumn, tables: list[NDArray[np.float64]]
) -> list[DatasetFinding]:
    """Checks one part; `tables` has its columns (T, width) of each episode."""
    assert first.meaning is not None
    values = np.concatenate(tables)
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return []
    called = (
        f"{first.called(kind)}{' and its part' if values.shape[1] > 1 else ''}: the entry says {first.meaning.rotation}"
    )
    if first.meaning.rotation.startswith("quaternion"):
        return _lengths(sample, kind, first, tables, values, called)
    return _angles(sample, kind, first, tables, values, called)


def _lengths(
    sample: EpisodeSample,
    kind: str,
    first: StepColumn,
    tables: list[NDArray[np.float64]],
    values: NDArray[np.float64],
    called: str,
) -> list[DatasetFinding]:
    """Reports quaternions whose length is not 1."""
    lengths = np.linalg.norm(values, axis=1)
    off = (np.abs(lengths - 1) > OFF_LENGTH) & (lengths > 0)  # zeros are padding
    if off.mean() <= FEW:
        return []
    each = [np.linalg.norm(table, axis=1) for table in tables]
    worst = int(np.argmax([np.nanmax(np.abs(own - 1), initial=0) for own in each]))
    share, usual = percent(float(off.mean()), 0), float(np.median(lengths[off]))
    what = f"{share} of the steps have another length than 1, such as {usual:.3g}"
    todo = "correct slice or rotation in the entry: these columns are no quaternion"
    drawing = Curves("length of the quaternion", {kind: each[worst]}, y_label="length")
    place = sample.usual()[worst].at(dim=first)
    return [DatasetFinding("error", "rotation-values", place, f"{called}, but {what}", todo, drawings=(drawing,))]


def _angles(
    sample: EpisodeSample,
    kind: str,
    first: StepColumn,
    tables: list[NDArray[np.float64]],
    values: NDArray[np.float64],
    called: str,
) -> list[DatasetFinding]:
    """Reports angles that look like degrees."""
    assert first.meaning is not None
    if first.meaning.unit.endswith("/s"):
        return []
    largest = float(np.quantile(np.abs(values).max(1), 0.99))
    if largest <= MOST_RADIANS[first.meaning.encoding]:
        return []
    worst = int(np.argmax([np.nanmax(np.abs(table), initial=0) for table in tables]))
    what = f"which is read in radians, but the values reach {largest:.4g}; these look like degrees"
    todo = "if degrees are stored, let the entry turn them into radians"
    scale = f"scale: {math.radians(1):.10f}, unit: rad"
    lines = {f"{kind} {i}": column for i, column in enumerate(tables[worst].T)}
    drawing = Curves(f"{first} and its part", lines)
    place = sample.usual()[worst].at(dim=first)
    return [DatasetFinding("warning", "rotation-values", place, f"{called}, {what}", todo, scale, drawings=(drawing,))]
