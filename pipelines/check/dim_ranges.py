"""Finds dims that never change, hardly change, or change only now and then, and values that are NaN or inf."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding, few
from pipelines.check.sampled import EpisodeSample, SampledEpisode

STILL = 1e-9  # of a dim's largest value: with a smaller range, it does not move
HARDLY = 1e-3  # of the usual range of all dims: with a smaller range, a dim is nearly constant
SPARSE = 0.01  # a sparse dim is away from its usual value in less than this share of steps
FEWEST = 200  # with fewer steps, a dim may look sparse by chance


def check_dims(sample: EpisodeSample) -> list[DatasetFinding]:
    """Checks every dim of the action and of the state."""
    episodes, findings = sample.usual(), []
    for kind, columns, tables in sample.tables():
        findings += _not_finite(kind, columns, tables, episodes)
        findings += _ranges(kind, columns, tables, episodes)
    return findings


def _not_finite(
    kind: str, columns: Sequence[StepColumn], tables: list[NDArray[np.float64]], episodes: list[SampledEpisode]
) -> list[DatasetFinding]:
    bad = [(episode, np.argwhere(~np.isfinite(table))) for episode, table in zip(episodes, tables, strict=True)]
    bad = [(episode, places) for episode, places in bad if len(places)]
    if not bad:
        return []
    nowhere = [str(columns[d]) for d in np.flatnonzero(np.isnan(np.concatenate(tables)).all(axis=0)).tolist()]
    if nowhere:
        what = f"no episode has the {kind} {few(nowhere)} that the entry takes"
        todo = "correct the feature or the slice in the entry: `index` rejects every episode"
        return [DatasetFinding("error", "not-finite", bad[0][0].at(dim=nowhere[0]), what, todo, count=len(nowhere))]
    episode, places = bad[0]
    step, d = (int(n) for n in places[0])
    what = f"{len(bad)} of {len(episodes)} episodes have a value of the {kind} that is not a finite number, or lack the column"
    todo = "`index` rejects such episodes: fill the values in, or remove the episodes"
    return [DatasetFinding("error", "not-finite", episode.at(step, columns[d]), what, todo, count=len(bad))]


def _ranges(
    kind: str, columns: Sequence[StepColumn], tables: list[NDArray[np.float64]], episodes: list[SampledEpisode]
) -> list[DatasetFinding]:
    joined = np.concatenate(tables)
    joined = joined[np.isfinite(joined).all(axis=1)]
    if len(joined) < 2:
        return []
    low, high = joined.min(axis=0), joined.max(axis=0)
    span, size = high - low, np.maximum(np.abs(joined).max(axis=0), 1e-30)
    moving = span > STILL * np.maximum(size, 1e-6)
    usual = float(np.median(span[moving])) if moving.any() else 0.0
    hardly = moving & (span < HARDLY * np.minimum(usual, np.maximum(size, 1e-12)))
    values, away = _usual_values(joined)
    sparse = moving & ~hardly & (away < SPARSE) & (len(joined) >= FEWEST)
    sparse &= ~np.array([column.gripper for column in columns])
    findings = []
    level = "warning" if kind == "action" else "note"
    for check, which, words, todo in (
        ("constant-dim", ~moving, "never change", "leave them out of the entry's slices: they say nothing"),
        ("nearly-constant-dim", hardly, f"move by less than {HARDLY:g} of what the other dims do",
         "leave them out of the entry's slices: normalised by their own range, their noise would be as large as real movements"),
        ("sparse-dim", sparse, f"are away from their usual value in less than {percent(SPARSE, 0)} of the steps",
         "look whether they are needed: their range is that of rare values, and most of a training sees only one value"),
    ):  # fmt: skip
        dims = np.flatnonzero(which).tolist()
        if not dims:
            continue
        d = dims[0]
        example = f"{columns[d]} is {values[d]:.6g}" + (
            "" if check == "constant-dim" else f", from {low[d]:.6g} to {high[d]:.6g}"
        )
        what = f"{len(dims)} of {len(columns)} {kind} dims {words}: {few([columns[i] for i in dims])}; {example}"
        farthest = [np.abs(table[:, d] - values[d]) for table in tables]
        worst = int(np.argmax([np.nanmax(f) if len(f) else -1.0 for f in farthest]))
        step = int(np.nanargmax(farthest[worst])) if check == "sparse-dim" else None
        drawing = Curves(f"{columns[d]}", {kind: tables[worst][:, d]}, None if step is None else (step, step))
        findings.append(
            DatasetFinding("warning" if level == "warning" else "note", check, episodes[worst].at(step, columns[d]), what, todo,
                           count=len(dims), drawings=(drawing,))
        )  # fmt: skip
    return findings


def _usual_values(joined: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns each dim's median, and the share of steps that differ from it by more than 0.1 % of the dim's range."""
    middle = np.median(joined, axis=0)
    span = np.maximum(joined.max(axis=0) - joined.min(axis=0), 1e-30)
    return middle, (np.abs(joined - middle) > 1e-3 * span).mean(axis=0)
