"""Decoding for `benchmarks.reader`: Pillow alone on images in memory, against reading, decoding and handing out in order."""

import io
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.readers import BATCH, COLUMNS

PROCESSES = "Pillow alone, processes"
PILLOW = "Pillow alone, threads"
LARGE = "Pillow alone, threads, 640 -> 224"
DECODERS = {  # and what each is compared with
    PROCESSES: PROCESSES,
    PILLOW: PROCESSES,
    "fasttok global, decoded": PROCESSES,
    "fasttok block, decoded": PROCESSES,
    LARGE: LARGE,
    "ImageDecoder, 640 -> 224": LARGE,
    "ImageDecoder, 640 -> 224, draft": LARGE,
}


def pixels(data: bytes, side: int = 224) -> np.ndarray:
    """One image as Pillow's users decode it."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def decode(name: str, folder: str, seconds: str) -> dict[str, float]:
    """Images a second on all cores, after a first batch; and a second of processor time, which others change less."""
    cores = len(os.sched_getaffinity(0))
    if name == PROCESSES:
        with get_context("fork").Pool(cores) as pool:
            found = pool.starmap(alone, [(folder, float(seconds))] * cores)
            return {"rate": sum(rate for rate, _ in found), "per_cpu": statistics.mean(per_cpu for _, per_cpu in found)}
    counts = counting(name, Path(folder), cores)
    next(counts)
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - began) < float(seconds):
        count += next(counts)
    return {"rate": count / spent, "per_cpu": count / (time.process_time() - cpu)}


def counting(name: str, folder: Path, cores: int) -> Iterator[int]:
    """Decodes batch by batch without end; how many images each time."""
    from benchmarks.samples import jpegs
    from pipelines.decode_images import ImageDecoder
    from pipelines.shards import ShardReader

    if name.startswith("fasttok"):
        batches = ShardReader(str(folder / "shards")).batches(BATCH, name.split()[1][:-1], columns=COLUMNS)  # type: ignore[call-overload]
        for _, images in ImageDecoder().batches(batches, ["image/primary"]):
            yield len(images["image/primary"].pixels)
    images = jpegs(64, side=640) * 4 if "640" in name else in_memory(folder)
    if name.startswith("ImageDecoder"):
        decoder = ImageDecoder((224, 224), draft="draft" in name)
        while True:
            yield len(decoder.decode(images).pixels)
    with ThreadPoolExecutor(cores) as pool:
        while True:  # no batch is waited for: threads always have work
            for count, _ in enumerate(pool.map(pixels, images * 8), 1):
                if count % BATCH == 0:
                    yield BATCH


def in_memory(folder: Path) -> list[bytes]:
    """The images of one batch."""
    from pipelines.shards import ShardReader

    return next(ShardReader(str(folder / "shards")).batches(BATCH, columns=COLUMNS))["image/primary"]  # type: ignore[return-value]


def alone(folder: str, seconds: float) -> tuple[float, float]:
    """Images a second of one process, and a second of its processor time."""
    images = in_memory(Path(folder))
    for image in images:
        pixels(image)
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - began) < seconds:
        for image in images[:32]:
            pixels(image)
        count += 32
    return count / spent, count / (time.process_time() - cpu)
