"""Decoding for `benchmarks.reader`: Pillow alone on images in memory, against reading, decoding and handing out in order.

All take turns of a second in one process, as what a core does in a second changes from minute to minute on a shared machine: a
ratio compares two turns of the same round.
"""

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.readers import BATCH, COLUMNS
from benchmarks.samples import jpegs

PROCESSES = "Pillow alone, processes"
LARGE = "Pillow alone, processes, 640 -> 224"
DECODERS = {  # and what each is compared with
    PROCESSES: PROCESSES,
    "Pillow alone, threads": PROCESSES,
    "fasttok global, decoded": PROCESSES,
    "fasttok block, decoded": PROCESSES,
    LARGE: LARGE,
    "ImageDecoder, 640 -> 224": LARGE,
    "ImageDecoder, 640 -> 224, draft": LARGE,
}
WARM, REST = 5, 0.4  # batches before a turn counts; seconds for what a turn left to be finished
_images: dict[str, list[bytes]] = {}  # that forked processes share


def pixels(data: bytes, side: int = 224) -> np.ndarray:
    """One image as Pillow's users decode it."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def decode(folder: str, rounds: str, turn: float = 1.2) -> dict[str, list[float]]:
    """Images a second on all cores, of each in each round; a first round does not count."""
    from pipelines.shards import ShardReader

    cores = len(os.sched_getaffinity(0))
    batch = next(ShardReader(str(Path(folder) / "shards")).batches(BATCH, columns=COLUMNS))
    _images["small"] = list(batch["image/primary"])
    _images["large"] = jpegs(64, side=640)
    found: dict[str, list[float]] = {name: [] for name in DECODERS}
    with get_context("fork").Pool(cores) as pool:
        streams = {name: counting(name, Path(folder), cores) for name in DECODERS if "processes" not in name}
        for number in range(int(rounds) + 1):
            for name in DECODERS:
                if name in streams:
                    rate = taken(streams[name], turn)
                else:
                    kind = "large" if name == LARGE else "small"
                    rate = sum(pool.starmap(alone, [(kind, turn)] * cores, chunksize=1))
                if number:
                    found[name].append(rate)
                time.sleep(REST)
    return found


def taken(counts: Iterator[int], seconds: float) -> float:
    """Images a second of a stream that is under way: what was decoded ahead before does not count."""
    for _ in range(WARM):
        next(counts)
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        count += next(counts)
    return count / spent


def counting(name: str, folder: Path, cores: int) -> Iterator[int]:
    """Decodes batch by batch without end; how many images each time."""
    from pipelines.shards import ShardReader
    from pipelines.shards.decode_images import ImageDecoder

    if name.startswith("fasttok"):
        mode: Any = name.split()[1][:-1]
        batches = ShardReader(str(folder / "shards")).batches(BATCH, mode, columns=COLUMNS)
        for _, images in ImageDecoder().batches(batches, ["image/primary"]):
            yield len(images["image/primary"].pixels)
    if name.startswith("ImageDecoder"):
        decoder = ImageDecoder((224, 224), draft="draft" in name)
        while True:
            yield len(decoder.decode(_images["large"]).pixels)
    with ThreadPoolExecutor(cores) as pool:
        while True:
            yield sum(1 for _ in pool.map(pixels, _images["small"]))


def alone(kind: str, seconds: float) -> float:
    """Images a second of one process."""
    images, count, began = _images[kind], 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        pixels(images[count % len(images)])
        count += 1
    return count / spent
