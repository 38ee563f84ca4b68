"""Computes exact statistics of the actions and proprio in an INDEX, or of chunks of them.

They are computed from the INDEX's columns, from which tokenizers and shards are made, too. Every number is correctly rounded and
does not depend on how the data was cut into files (`fasttok.actions.quantiles`).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.actions.chunks import chunks_at, horizon_steps, run_ends
from fasttok.actions.quantiles import Summary, summarize
from fasttok.actions.representation import Representation
from fasttok.common import stores
from fasttok.common.console import progress
from fasttok.episodes.index import NUMBERED, open_table, read_file, reading_table
from fasttok.episodes.index_file import IndexedEntry, IndexFile
from fasttok.errors import InputError
from pipelines.common.files import join
from pipelines.datasets.actions import representation
from pipelines.index.statistics_config import StatisticsConfig
from pipelines.index.statistics_file import (
    FORMAT_VERSION,
    QUANTILES,
    ChunkStatistics,
    DatasetStatistics,
    DimStatistics,
    EmbodimentStatistics,
    IndexChunkStatistics,
    IndexStatistics,
)

logger = logging.getLogger(__name__)

ROWS = 1 << 15  # rows per batch
Matrix = NDArray[np.float32]


def of_index(folder: str, index: IndexFile, split: str = "train") -> IndexStatistics:
    """Computes statistics of all steps as stored, per embodiment and per dataset, from the INDEX's tables.

    Args:
        folder: path or URL of the INDEX.
        index: index.json of the INDEX.
        split: split whose episodes count; for a dataset without it, all splits count.
    """
    robots = [name for name, dataset in index.datasets.items() if dataset.entry.kind == "robot"]
    bases = {name: _tables(folder, index, name, split) for name in robots}
    with progress("statistics", None, "readings of a table") as advance:

        def rows(base: str) -> Iterator[Matrix]:
            for batch in _batches(base, ["action", "proprio"]):
                yield np.concatenate([_matrix(batch.column("action")), _matrix(batch.column("proprio"))], axis=1)
            advance()

        return by_embodiment(index, split, lambda names: statistics([b for name in names for b in bases[name]], rows))


def _tables(folder: str, index: IndexFile, name: str, split: str) -> list[str]:
    """Returns the tables of a dataset's split, or of all its splits if it has no such split, without their suffixes."""
    splits = index.datasets[name].splits
    chosen = [split] if split in splits else list(splits)
    return [join(folder, name, one, stem) for one in chosen for stem in splits[one].files]


def by_embodiment(
    index: IndexFile, split: str, both: Callable[[Sequence[str]], tuple[int, DimStatistics]]
) -> IndexStatistics:
    """Collects statistics per dataset, and per embodiment over all of its datasets.

    Args:
        index: index.json with the datasets.
        split: split whose episodes count.
        both: names of datasets -> number of their steps, and statistics of the dims of action followed by those of proprio.
    """
    groups: dict[str, list[str]] = {}
    per_dataset: dict[str, DatasetStatistics] = {}
    per_embodiment: dict[str, EmbodimentStatistics] = {}
    for name, dataset in index.datasets.items():
        if dataset.entry.kind == "robot":
            groups.setdefault(dataset.entry.embodiment, []).append(name)
            per_dataset[name] = _parted(dataset.entry, *both([name]))
    for embodiment, names in groups.items():
        entries = [index.datasets[name].entry for name in names]
        shapes = {(entry.action_dim, entry.proprio_dim) for entry in entries}
        if len(shapes) > 1:
            dims = f"{', '.join(names)} have (action, proprio) dims {sorted(shapes)}"
            logger.info("note: no statistics for the embodiment %s: %s", embodiment, dims)
            continue
        found = per_dataset[names[0]] if len(names) == 1 else _parted(entries[0], *both(names))
        per_embodiment[embodiment] = EmbodimentStatistics(tuple(names), found.count, found.action, found.proprio)
    return IndexStatistics(FORMAT_VERSION, split, per_embodiment, per_dataset)


def _parted(entry: IndexedEntry, count: int, values: DimStatistics) -> DatasetStatistics:
    """Splits statistics into those of action and those of proprio."""
    width = entry.action_dim
    action = values.dims(slice(0, width), entry.action_names)
    return DatasetStatistics(count, action, values.dims(slice(width, None), entry.proprio_names))


def statistics(
    bases: Sequence[str], rows: Callable[[str], Iterator[Matrix]], copies: int = 1
) -> tuple[int, DimStatistics]:
    """Returns the number of all rows, and statistics of each dim.

    Args:
        bases: paths of the INDEX's tables, without their suffixes.
        rows: path of `bases` -> batches of its rows, each (n, D) float32.
        copies: number of rows that contain the same step, because chunks overlap.
    """
    try:
        summary = summarize(lambda: (batch for base in bases for batch in rows(base)), list(QUANTILES.values()))
    except ValueError as error:
        if str(error) != "no rows":
            raise
        return 0, DimStatistics()
    return summary.count, dim_statistics(summary, copies)


def dim_statistics(summary: Summary, copies: int = 1) -> DimStatistics:
    """Converts a summary with the quantiles `QUANTILES` to the form in which it is written; `copies` as in `statistics`."""
    moments = {key: tuple(getattr(summary, key).tolist()) for key in ("mean", "std", "min", "max")}
    quantiles = {key: tuple(row.tolist()) for key, row in zip(QUANTILES, summary.quantiles, strict=True)}
    return DimStatistics(**moments, **quantiles).of_steps(summary.count / copies)


def of_chunks(config: StatisticsConfig, index: IndexFile) -> IndexChunkStatistics:
    """Computes statistics per embodiment: of actions in chunks, and of proprio at each step.

    It says which embodiments it leaves out, because the form gives their datasets different dims, and of which embodiments the
    chunks have different numbers of steps.

    Raises:
        InputError: a dataset does not allow the form, or has no control frequency and no --horizon is given.
    """
    steps = of_index(config.index, index, config.split)
    embodiments = {}
    for embodiment, both in steps.embodiments.items():
        made = {name: ChunkMaker.of(index.datasets[name].entry, config) for name in both.datasets}
        first = made[both.datasets[0]]
        if len({maker.dim for maker in made.values()}) > 1:
            dims = ", ".join(f"{name} {maker.dim}" for name, maker in made.items())
            logger.info(
                "note: no statistics for the embodiment %s: in this form its actions have dims %s", embodiment, dims
            )
            continue
        if len({maker.horizon for maker in made.values()}) > 1:
            steps_of = ", ".join(f"{name} {maker.horizon}" for name, maker in made.items())
            logger.info("note: chunks of the embodiment %s have different numbers of steps: %s", embodiment, steps_of)
        makers = {  # path of a table, without its suffix -> what makes its chunks
            base: maker for name, maker in made.items() for base in _tables(config.index, index, name, config.split)
        }
        count, action = statistics(list(makers), partial(_chunks, makers), first.horizon)
        embodiments[embodiment] = ChunkStatistics(
            datasets=both.datasets,
            count=both.count,
            action=replace(action, names=first.names),
            proprio=both.proprio,
            horizon=first.horizon,
            form="stored" if first.represent is None else first.represent.name,
            chunk_steps=count,
        )
    return IndexChunkStatistics(FORMAT_VERSION, config.split, embodiments)


def _chunks(makers: dict[str, "ChunkMaker"], base: str) -> Iterator[Matrix]:
    return makers[base].chunks(base)


@dataclass(frozen=True)
class ChunkMaker:
    """Makes chunks from the episodes of one dataset, as they are tokenised.

    Attributes:
        horizon: number of steps per chunk.
        encoding: encoding of each dim of the stored actions.
        names: name of each dim of the represented actions.
        represent: how actions are represented; None for as stored.
        dim: number of dims of the represented actions.
        numbered: whether chunks end where steps are left out.
    """

    horizon: int
    encoding: tuple[str, ...]
    names: tuple[str, ...]
    represent: Representation | None
    dim: int
    numbered: bool = False

    @classmethod
    def of(cls, entry: IndexedEntry, config: StatisticsConfig) -> "ChunkMaker":
        """Returns a maker of the chunks that a mixture with this chunk and form would make."""
        if config.horizon is not None:
            horizon = config.horizon
        elif entry.control_hz is not None:
            horizon = horizon_steps(config.seconds or 1.0, entry.control_hz)
        else:
            raise InputError(f"{entry.name}: its control frequency is not known; pass the chunk length with --horizon")
        represent = representation(entry, entry.name, config.form, config.rotation)
        names = represent.names(entry.action_names) if represent else entry.action_names
        dim = represent.dim if represent else entry.action_dim
        return cls(horizon, entry.action_encoding, names, represent, dim, entry.keep_ranges is not None)

    def chunks(self, base: str) -> Iterator[Matrix]:
        """Yields for each episode of a table its chunks, (steps of all chunks, D) float32."""
        for episode in read_file(base, {NUMBERED: self.numbered}):
            action = np.asarray(episode.steps["action"])
            ends = run_ends(np.asarray(episode.metadata[NUMBERED])) if self.numbered else None
            chunks = chunks_at(action, np.arange(len(action)), self.horizon, self.encoding, ends)
            if self.represent is not None:
                proprio = np.asarray(episode.steps.get("proprio", np.zeros((len(action), 0))))
                chunks = self.represent(chunks, self.represent.reference(action, proprio, ends))
            yield chunks.reshape(-1, chunks.shape[-1])


def _batches(base: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    path = f"{base}.steps.parquet"
    with reading_table(path), stores.open_file(path) as stream:
        yield from open_table(stream).iter_batches(ROWS, columns=columns)


def _matrix(column: pa.ListArray) -> Matrix:
    """Returns a list column whose lists have one length as a (rows, length) array."""
    rows: Matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return rows
