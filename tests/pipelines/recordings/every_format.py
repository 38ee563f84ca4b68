"""One INDEX and one mixture of every format of recordings: what runners and kills are compared on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.builder.config import BuildConfig
from pipelines.index.config import IndexConfig
from tests.pipelines.recordings.hdf5_lab import lab
from tests.pipelines.recordings.lerobot_data import FPS, write_v2, write_v3

LENGTHS = (40, 33, 25, 47, 30)
SAMPLES = 240


def write_tables(folder: Path) -> Path:
    """Parquet files of episodes whose state follows the action."""
    folder.mkdir(parents=True)
    for number in range(3):
        rng = np.random.default_rng(number)
        parts = []
        for episode, length in enumerate(LENGTHS):
            action = np.cumsum(rng.normal(size=(length, 2)), axis=0)
            state = np.concatenate([action[:1], action[:-1]])
            rows = {"episode": np.full(length, episode), "action": action.tolist(), "state": state.tolist()}
            parts.append(pa.table(rows))
        pq.write_table(pa.concat_tables(parts), folder / f"part{number}.parquet", row_group_size=50)
    return folder


def write_all(folder: Path) -> tuple[str, ...]:
    """A dataset of each format."""
    made = (
        write_v2(folder / "two", LENGTHS),
        write_v3(folder / "three", LENGTHS),
        write_tables(folder / "tables"),
        lab(folder / "lab"),
    )
    return tuple(map(str, made))


def index_config(datasets: tuple[str, ...], out: Path, overwrite: bool = False) -> IndexConfig:
    return IndexConfig(datasets, str(out), control_hz=(f"tables={FPS}",), overwrite=overwrite)


def build_config(datasets: tuple[str, ...], index: Path, out: Path) -> BuildConfig:
    mixture = index.with_name("mixture.yaml")
    sources = "".join(f"  - {{dataset: {Path(name).name}, weight: 1}}\n" for name in datasets)
    mixture.write_text(f"name: m\nchunk: {{steps: 5}}\nsources:\n{sources}")
    return BuildConfig(str(mixture), str(out), SAMPLES, str(index), shards=3)
