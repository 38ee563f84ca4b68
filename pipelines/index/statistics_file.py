"""statistics.json: exact statistics of the actions and proprio of an INDEX, for people and other trainers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fasttok.actions.dim_ranges import Moments, NormalizedBy, choose
from fasttok.common.json_files import IF_NOT_DEFAULT

FILE = "statistics.json"
FORMAT_VERSION = 1
QUANTILES = {"q01": 0.01, "q05": 0.05, "q50": 0.5, "q95": 0.95, "q99": 0.99}


@dataclass(frozen=True)
class DimStatistics:
    """Statistics of each dim of an action or proprio; empty if there are no steps.

    Attributes:
        mean: per dim.
        std: per dim.
        min: per dim.
        max: per dim.
        q01: 1 % quantile per dim.
        q05: 5 % quantile per dim.
        q50: median per dim.
        q95: 95 % quantile per dim.
        q99: 99 % quantile per dim.
        names: name of each dim, with its unit.
        normalized_by: what maps each dim to about [-1, 1], as a fit chooses it: "quantile", "min_max" if the dim moves too seldom
            for its quantiles, or "constant" if it never moves; () if it is "quantile" for all dims.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    q01: tuple[float, ...] = ()
    q05: tuple[float, ...] = ()
    q50: tuple[float, ...] = ()
    q95: tuple[float, ...] = ()
    q99: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    normalized_by: tuple[NormalizedBy, ...] = field(default=(), metadata=IF_NOT_DEFAULT)

    def __post_init__(self) -> None:
        if not self.normalized_by:
            object.__setattr__(self, "normalized_by", self._normalized_by(0))

    def of_steps(self, steps: float) -> "DimStatistics":
        """Returns the statistics with what normalises each dim if the values come from so many steps."""
        return replace(self, normalized_by=self._normalized_by(steps))

    def _normalized_by(self, steps: float) -> tuple[NormalizedBy, ...]:
        columns = {name: np.asarray(getattr(self, name)) for name in ("mean", "std", "min", "max", "q01", "q99")}
        by = choose(Moments(**columns, mask=np.ones(len(self.mean), bool)), "quantile", steps=steps)
        return () if set(by) <= {"quantile"} else by

    def dims(self, wanted: slice, names: Sequence[str]) -> "DimStatistics":
        """Returns the statistics of some dims, with these names."""
        columns = ("mean", "std", "min", "max", *QUANTILES)
        by = self.normalized_by[wanted]
        return replace(
            self,
            **{name: getattr(self, name)[wanted] for name in columns},
            names=tuple(names),
            normalized_by=() if set(by) <= {"quantile"} else by,
        )


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of a dataset's steps.

    Attributes:
        count: number of steps.
        action: statistics of the action of each step, as stored.
        proprio: statistics of the proprio of each step, as stored.
    """

    count: int
    action: DimStatistics
    proprio: DimStatistics


@dataclass(frozen=True)
class EmbodimentStatistics:
    """Statistics of the steps of all datasets of an embodiment.

    Attributes:
        datasets: names of the datasets.
        count: number of steps.
        action: statistics of the action of each step, as stored.
        proprio: statistics of the proprio of each step, as stored.
    """

    datasets: tuple[str, ...]
    count: int
    action: DimStatistics
    proprio: DimStatistics


@dataclass(frozen=True)
class ChunkStatistics(EmbodimentStatistics):
    """Statistics of an embodiment's chunks, as they are tokenised.

    Attributes:
        action: statistics of the action of each step of each chunk, in the form that was asked for.
        horizon: number of steps per chunk, of the first dataset.
        form: form of the actions.
        chunk_steps: number of steps of all chunks together.
    """

    horizon: int
    form: str
    chunk_steps: int


@dataclass(frozen=True)
class IndexStatistics:
    """The contents of statistics.json.

    Attributes:
        format_version: version of this file's format.
        split: split whose episodes count; for a dataset without it, all splits count.
        embodiments: name -> statistics of the embodiment; an embodiment whose datasets have different dims is missing.
        datasets: name -> statistics of the dataset.
    """

    format_version: int
    split: str
    embodiments: dict[str, EmbodimentStatistics]
    datasets: dict[str, DatasetStatistics]


@dataclass(frozen=True)
class IndexChunkStatistics:
    """What `fasttok-pipelines statistics` writes for chunks.

    Attributes:
        format_version: version of this file's format.
        split: split whose episodes count; for a dataset without it, all splits count.
        embodiments: name -> statistics of the embodiment's chunks.
    """

    format_version: int
    split: str
    embodiments: dict[str, ChunkStatistics]
