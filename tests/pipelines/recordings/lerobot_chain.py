"""A folder of recordings to shards, and what their pictures show."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fasttok.episodes.index_file import IndexFile
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.shards.reader import ShardReader
from tests.pipelines.recordings.lerobot_data import shown


def index(root: Path, out: Path, **more: Any) -> IndexFile:
    return run_index(IndexConfig((str(root),), str(out), **more), [])


def build(index_folder: Path, out: Path, samples: int = 60, source: str = "") -> ShardReader:
    mixture = out.with_suffix(".yaml")
    text = f"name: m\nchunk: {{steps: 5}}\nindex: {index_folder}\nsources:\n  - {{dataset: robot, weight: 1{source}}}\n"
    mixture.write_text(text)
    run_build(BuildConfig(str(mixture), str(out), samples=samples), [])
    return ShardReader(str(out))


def pictures(reader: ShardReader) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Of each row (episode, step) as its id says, and as its picture shows."""
    found = []
    for row in map(reader.row, range(reader.num_rows)):
        _, _, episode, step, _ = row["sample_id"].rsplit("/", 4)
        pixels = np.asarray(Image.open(io.BytesIO(row["image/primary"])).convert("RGB"))
        found.append(((int(episode), int(step)), shown(pixels)))
    return found
