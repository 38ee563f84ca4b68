"""What is compared: for each reader its script, its environment, and what its order is."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.loading.environments import LEROBOT, LOADING_SETS
from tests.interop.environments import PackageSet, packages_of

ROOT = Path(__file__).resolve().parents[2]
OURS = "fasttok global"


@dataclass(frozen=True)
class Contender:
    """A reader with its settings.

    Attributes:
        name: in the tables.
        script: in `readers/`.
        package: whose version is shown.
        images: how its format holds them.
        shuffle: what its shuffled order mixes.
        settings: what was chosen for it, beside two threads or workers.
        variant: what the script is told.
        environment: where it runs; None: in this one.
        folder: of its format.
        sequential: whether it has an order of the files.
    """

    name: str
    script: str
    package: str
    images: str
    shuffle: str
    settings: str
    variant: str = ""
    environment: PackageSet | None = None
    folder: str = ""
    sequential: bool = True

    @property
    def python(self) -> str | None:
        """Its interpreter; None if its environment is not built."""
        if self.environment is None:
            return sys.executable
        return str(self.environment.interpreter) if self.environment.interpreter else None

    @property
    def version(self) -> str:
        """Of its package; its environment is built."""
        if self.environment is None:
            return version(self.package)
        below = self.environment.over.versions if self.environment.over else {}
        return {**below, **self.environment.versions}[self.package]

    @property
    def paths(self) -> dict[str, str]:
        """Environment variables: our packages where it runs beside them; PyAV's FFmpeg for torchcodec, which brings none."""
        if self.environment is None:
            return {"PYTHONPATH": str(ROOT)}
        libraries = packages_of(LEROBOT.folder, LEROBOT.python) / "av.libs"
        return {"LD_LIBRARY_PATH": os.pathsep.join([str(ffmpeg_links(libraries)), str(libraries)])}


def ffmpeg_links(libraries: Path) -> Path:
    """A folder with PyAV's FFmpeg libraries under the names by which torchcodec asks for them.

    A wheel's libraries have a digest in their names: libavutil-a63ffd27.so.59.39.100 is libavutil.so.59.
    """
    links = LEROBOT.folder / "ffmpeg"
    links.mkdir(exist_ok=True)
    for library in libraries.glob("lib[as][vw]*-*.so.*"):
        name, _, number = library.name.partition(".so.")
        link = links / f"{name.rpartition('-')[0]}.so.{number.split('.')[0]}"
        if not link.exists():
            link.symlink_to(library)
    return links


JPEG = "JPEG of 224 px"
VIDEO = "AV1 video"
BUFFER = "files, then a buffer of 1,000"
LANCEDB, ENERGON, STREAMING = LOADING_SETS.values()
CONTENDERS = (
    Contender(
        OURS, "read_ours.py", "pyarrow", JPEG, "all rows", "ShardReader, ImageDecoder", "global", folder="shards",
        sequential=False,
    ),
    Contender(
        "fasttok block", "read_ours.py", "pyarrow", JPEG, "8 shards, 16 record batches at a time",
        "ShardReader, ImageDecoder", "block", folder="shards", sequential=False,
    ),
    Contender(
        "lerobot, PyAV", "read_lerobot.py", "lerobot", VIDEO, "all rows", "as its trainer: EpisodeAwareSampler, spawned workers, "
        "prefetch 4", "pyav", LEROBOT, "lerobot",
    ),
    Contender(
        "lerobot, torchcodec", "read_lerobot.py", "lerobot", VIDEO, "all rows", "the same", "torchcodec", LEROBOT, "lerobot",
    ),
    Contender(
        "lerobot-lancedb", "read_lance.py", "lerobot-lancedb", VIDEO, "all rows", "LanceDBDataset, torchcodec, sampler as above",
        "", LANCEDB, "lance",
    ),
    Contender(
        "Megatron-Energon", "read_energon.py", "megatron-energon", JPEG, BUFFER, "savable loader, 100 samples in a row, Pillow",
        "", ENERGON, "energon",
    ),
    Contender(
        "mosaicml-streaming", "read_streaming.py", "mosaicml-streaming", JPEG, "all rows (py1e, blocks of 262,144)",
        "StreamingDataLoader, prefetch 4, Pillow", "", STREAMING, "mds",
    ),
    Contender(
        "WebDataset", "read_webdataset.py", "webdataset", JPEG, BUFFER, "WebLoader, prefetch 4, Pillow", "", LANCEDB,
        "webdataset",
    ),
    Contender(
        "grain, ArrayRecord", "read_grain.py", "grain", JPEG, "all rows", "MapDataset, two read threads, group_size 1, Pillow",
        folder="array_record",
    ),
    Contender(
        "HF datasets, indices", "read_datasets.py", "datasets", JPEG, "all rows", "StatefulDataLoader, prefetch 4, Pillow",
        "indices",
        LANCEDB, "arrow",
    ),
    Contender(
        "HF datasets, streaming", "read_datasets.py", "datasets", JPEG, BUFFER, "the same, to_iterable_dataset", "streaming",
        LANCEDB, "arrow",
    ),
    Contender(
        "tf.data, RLDS", "read_rlds.py", "tensorflow", JPEG, BUFFER, "private pool of two threads, decode_jpeg after the buffer",
        folder="rlds",
    ),
)  # fmt: skip
