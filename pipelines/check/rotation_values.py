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
    episodes = sample.usual()
    findings: list[DatasetFinding] = []
    for kind, columns, tables in (
        ("action", sample.columns.action, [episode.action for episode in episodes]),
        ("state", sample.columns.state, [episode.state for episode in episodes]),
    ):
        parts: dict[int, list[int]] = {}
        for d, column in enumerate(columns):
            if column.meaning is not None and column.meaning.rotation:
                parts.setdefault(column.part, []).append(d)
        for dims in parts.values() if tables else ():
            findings += _part(sample, kind, columns[dims[0]], [table[:, dims] for table in tables])
    return findings


def _part(
    sample: EpisodeSample, kind: str, first: StepColumn, tables: list[NDArray[np.float64]]
) -> list[DatasetFinding]:
    """Checks one part; `tables` has its columns (T, width) of each episode."""
    assert first.meaning is not None
    rotation, encoding = first.meaning.rotation, first.meaning.encoding
    values = np.concatenate(tables)
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return []
    called = f"{first.called(kind)} and its part" if len(values[0]) > 1 else first.called(kind)
    if rotation.startswith("quaternion"):
        lengths = np.linalg.norm(values, axis=1)
        off = (np.abs(lengths - 1) > OFF_LENGTH) & (lengths > 0)  # zeros are padding
        if off.mean() <= FEW:
            return []
        episode = int(np.argmax([np.abs(np.linalg.norm(table, axis=1) - 1).max(initial=0) for table in tables]))
        drawing = Curves("length of the quaternion", {kind: np.linalg.norm(tables[episode], axis=1)}, y_label="length")
        return [
            DatasetFinding(
                "error", "rotation-values", sample.usual()[episode].at(dim=first),
                f"{called}: the entry says {rotation}, but {percent(float(off.mean()), 0)} of the steps have another length "
                f"than 1, such as {float(np.median(lengths[off])):.3g}",
                "correct slice or rotation in the entry: these columns are no quaternion", drawings=(drawing,),
            )
        ]  # fmt: skip
    if first.meaning.unit.endswith("/s"):
        return []
    largest = float(np.quantile(np.abs(values).max(1), 0.99))
    if largest <= MOST_RADIANS[encoding]:
        return []
    episode = int(np.argmax([np.nanmax(np.abs(table), initial=0) for table in tables]))
    drawing = Curves(f"{first} and its part", {f"{kind} {i}": tables[episode][:, i] for i in range(values.shape[1])})
    return [
        DatasetFinding(
            "warning", "rotation-values", sample.usual()[episode].at(dim=first),
            f"{called}: the entry says {rotation}, which is read in radians, but the values reach {largest:.4g}; these look like "
            "degrees",
            "if degrees are stored, let the entry turn them into radians", f"scale: {math.radians(1):.10f}, unit: rad",
            drawings=(drawing,),
        )
    ]  # fmt: skip
