"""Counts steps for the statistics of an INDEX, in parallel: integers per run of jobs, whose sums do not depend on who counted.

compact.py    first reading of a run's steps, while its tables are written
choose        once for all runs: adds up the first readings, which show in which bins the quantiles are
count         second reading of a run's steps, in these bins
of_runs       in the driver: adds up the second readings, and divides
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.actions.quantiles import BINS, FirstReading, SecondReading, summary_of
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index import open_table
from fasttok.episodes.index_file import IndexFile
from pipelines.common.files import atomic_write, filesystem, join
from pipelines.common.live_counts import WORK
from pipelines.common.side_by_side import side_by_side
from pipelines.index.run_summary import RunPlace, RunSummary
from pipelines.index.statistics import by_embodiment, dim_statistics
from pipelines.index.statistics_config import SPLIT
from pipelines.index.statistics_file import QUANTILES, DimStatistics, IndexStatistics

FIRST, SECOND = "first.npz", "second.npz"
SHARES = tuple(QUANTILES.values())
AT_ONCE = 32  # runs whose counts are read at a time
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class IndexedRun:
    """A run of jobs whose tables are written.

    Attributes:
        place: names the run.
        embodiment: embodiment of its dataset.
        dims: number of (action, proprio) columns; None if there are no episodes, or their numbers differ.
        tables: stems of its tables.
    """

    place: RunPlace
    embodiment: str
    dims: tuple[int, int] | None
    tables: tuple[str, ...]

    @classmethod
    def of(cls, place: RunPlace, entry: DatasetEntry, summary: RunSummary) -> "IndexedRun":
        """Returns a run of a dataset with this entry."""
        dims = {(sum(action), sum(proprio)) for action, proprio in summary.counts.widths}
        return cls(place, entry.embodiment, dims.pop() if len(dims) == 1 else None, summary.tables)

    @property
    def key(self) -> str:
        """Name of the run."""
        return str(self.place)


def matrix(steps: pa.Table) -> NDArray[np.float32] | None:
    """Returns action and proprio of n steps as one (n, D) array; None if steps have different dims."""
    columns = []
    for name in ("action", "proprio"):
        lists = steps.column(name).combine_chunks()
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
        if len(lengths) and (lengths != lengths[0]).any():
            return None
        columns.append(lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1 if len(lists) else 0))
    joined: NDArray[np.float32] = np.concatenate(columns, axis=1)
    return joined


def choose(runs: list[IndexedRun]) -> Iterator[IndexedRun]:
    """Adds up the first readings of each dataset, and saves the bins for its second reading. Yields the runs to count."""
    embodiments: dict[str, dict[str, list[IndexedRun]]] = {}
    for name, own in counted(runs).items():
        if len({run.dims for run in own}) == 1:
            embodiments.setdefault(own[0].embodiment, {})[name] = own
    for datasets in embodiments.values():
        firsts = {name: _added([run.place.path(FIRST) for run in own]) for name, own in datasets.items()}
        together = _sum(firsts.values()) if len({own[0].dims for own in datasets.values()}) == 1 else None
        for name, first in firsts.items():
            bins = [first.bins(SHARES)] + ([] if together is None else [together.bins(SHARES)])
            out = datasets[name][0].place.out
            _save(_of_dataset(out, name, "bins.npz"), {"bins": np.concatenate(bins, axis=1)})
            save_first(_of_dataset(out, name, FIRST), first)
            yield from datasets[name]


def count(runs: list[IndexedRun]) -> Iterator[IndexedRun]:
    """Makes the second reading of the steps of each run (the list has only one), and yields the run."""
    for run in runs:
        place = run.place
        second = SecondReading.empty(_load(_of_dataset(place.out, place.dataset, "bins.npz"))["bins"])
        for stem in run.tables:
            fs, path = filesystem(join(place.out, place.dataset, place.split, f"{stem}.steps.parquet"))
            with fs.open(path, "rb") as stream:
                file = open_table(stream)
                for group in range(file.num_row_groups):
                    rows = matrix(file.read_row_group(group, columns=["action", "proprio"]))
                    if rows is not None:
                        second.add(rows)
        at = np.flatnonzero(second.lower)
        _save(place.path(SECOND), {"at": at, "counts": second.lower.reshape(-1)[at]})
        yield run


def counted(runs: Iterable[IndexedRun]) -> dict[str, list[IndexedRun]]:
    """Returns dataset -> its runs whose steps count: those of its split `train`, or of all splits if it has no such split."""
    found: dict[str, list[IndexedRun]] = {}
    splits: dict[str, set[str]] = {}
    every = sorted(runs, key=lambda run: run.key)
    for run in every:
        splits.setdefault(run.place.dataset, set()).add(run.place.split)
    for run in every:
        if run.dims is not None and (run.place.split == SPLIT or SPLIT not in splits[run.place.dataset]):
            found.setdefault(run.place.dataset, []).append(run)
    return found


def of_runs(out: str, index: IndexFile, runs: Iterable[IndexedRun]) -> IndexStatistics:
    """Computes the statistics of an INDEX from what its workers counted."""
    known = counted(runs)

    def both(names: Sequence[str]) -> tuple[int, DimStatistics]:
        having = [name for name in names if name in known]
        if not having:
            return 0, DimStatistics()
        first = _sum([load_first(_of_dataset(out, name, FIRST)) for name in having])
        seconds = (_second(out, name, known[name]) for name in having)
        if len(having) == 1:
            return first.count, dim_statistics(summary_of(first, next(seconds), SHARES))
        second = SecondReading.empty(first.bins(SHARES))
        for one in seconds:
            second.take(one)
        return first.count, dim_statistics(summary_of(first, second, SHARES))

    return by_embodiment(index, SPLIT, both)


def _second(out: str, name: str, runs: Sequence[IndexedRun]) -> SecondReading:
    """Adds up the second readings of a dataset's runs."""
    second = SecondReading.empty(_load(_of_dataset(out, name, "bins.npz"))["bins"])
    flat = second.lower.reshape(-1)
    for start in range(0, len(runs), AT_ONCE):
        for found in side_by_side(_load, [run.place.path(SECOND) for run in runs[start : start + AT_ONCE]]):
            flat[found["at"]] += found["counts"]
    return second


def save_first(path: str, first: FirstReading) -> None:
    """Writes a first reading, with only the counts above 0."""
    at = np.flatnonzero(first.upper)
    arrays = {"count": np.array(first.count), "sums": first.sums, "at": at, "counts": first.upper.reshape(-1)[at]}
    _save(path, arrays)


def load_first(path: str) -> FirstReading:
    """Reads a first reading."""
    found = _load(path)
    upper = np.zeros((len(found["sums"]), BINS), np.int64)
    upper.reshape(-1)[found["at"]] = found["counts"]
    return FirstReading(int(found["count"]), found["sums"], upper)


def _added(paths: Sequence[str]) -> FirstReading:
    total = load_first(paths[0])
    for start in range(1, len(paths), AT_ONCE):
        for one in side_by_side(load_first, paths[start : start + AT_ONCE]):
            total.merge(one)
    return total


def _sum(readings: Iterable[FirstReading]) -> FirstReading:
    every = list(readings)
    total = FirstReading.empty(len(every[0].upper))
    for one in every:
        total.merge(one)
    return total


def _of_dataset(out: str, dataset: str, name: str) -> str:
    return join(out, WORK, "counts", f"{dataset}.{name}")


def _save(path: str, arrays: Arrays) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    with atomic_write(path) as target:
        target.write(stream.getvalue())


def _load(path: str) -> Arrays:
    fs, name = filesystem(path)
    with np.load(io.BytesIO(fs.cat_file(name)), allow_pickle=False) as found:
        return {key: found[key] for key in found.files}
