"""Each contender of `benchmarks.reader` as one endless stream of shuffled batches: (image bytes, actions, prompts, targets).

Images stay encoded everywhere. Each is used as its documentation shows; what a format cannot do (mix the whole set without a
buffer, keep a mixture) is not held against its speed.
"""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.samples import DIM, HORIZON

BATCH, BUFFER = 256, 5000
COLUMNS = ("image/primary", "action", "prompt", "target")
Stream = Iterator[tuple[Any, ...]]


def ours(folder: Path, mode: Any, columns: tuple[str, ...] | None, workers: int = 0) -> Stream:
    """ShardReader; the four columns, or all of a row's."""
    from pipelines.shards import ShardReader

    for batch in ShardReader(str(folder / "shards")).batches(BATCH, mode, columns=columns, workers=workers):
        yield tuple(batch[name] for name in batch.columns if columns is None or name in columns)


def tf_data(folder: Path) -> Stream:
    """tf.data over RLDS: files shuffled, episodes flattened to steps, a shuffle buffer of steps, images skipped."""
    from fasttok.episodes.tfds import keep_images, tfds

    module = tfds()
    import tensorflow as tf

    builder = module.builder_from_directory(str(folder / "rlds" / "bench" / "1.0.0"))
    data = builder.as_dataset(split="train", decoders=keep_images(module, builder.info.features), shuffle_files=True)
    steps = data.repeat().flat_map(lambda episode: episode["steps"])
    batches = steps.shuffle(BUFFER).batch(BATCH, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    for batch in batches.as_numpy_iterator():
        texts = ([text.decode() for text in batch[name]] for name in ("prompt", "target"))
        yield batch["observation"]["image"].tolist(), batch["action"], *texts


def webdataset(folder: Path) -> Stream:
    """WebDataset: shards shuffled, a shuffle buffer of samples."""
    import webdataset as wds

    urls = [str(path) for path in sorted((folder / "webdataset").glob("*.tar"))]
    data = wds.WebDataset(urls, shardshuffle=len(urls), resampled=False).repeat().shuffle(BUFFER)
    found: list[dict[str, Any]] = []
    for sample in data:
        found.append(sample)
        if len(found) == BATCH:
            texts = [json.loads(row["json"]) for row in found]
            actions = [np.frombuffer(row["bin"], np.float32) for row in found]
            yield [row["jpg"] for row in found], actions, [t["prompt"] for t in texts], [t["target"] for t in texts]
            found = []


def hugging_face(folder: Path, streaming: bool) -> Stream:
    """Hugging Face datasets over Arrow files: shuffled indices, or shuffled shards and a buffer."""
    import datasets

    datasets.disable_progress_bars()
    files = [str(path) for path in sorted((folder / "tables").glob("*.parquet"))]
    table = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "hf"))
    epoch = 0
    while True:
        if streaming:
            rows = table.to_iterable_dataset(num_shards=len(files)).shuffle(seed=epoch, buffer_size=BUFFER)
            batches = rows.with_format("numpy").iter(BATCH)
        else:
            batches = table.shuffle(seed=epoch).with_format("numpy").iter(BATCH)
        for batch in batches:
            yield list(batch["image"]), batch["action"], list(batch["prompt"]), list(batch["target"])
        epoch += 1


def parquet(folder: Path) -> Stream:
    """Parquet by pyarrow: row groups of 1,024 in a shuffled order, the rows of each shuffled."""
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(path, memory_map=True) for path in sorted((folder / "tables").glob("*.parquet"))]
    groups = [(file, group) for file in files for group in range(file.num_row_groups)]
    rng = np.random.default_rng(0)
    while True:
        for i in rng.permutation(len(groups)).tolist():
            file, group = groups[i]
            table = file.read_row_group(group).combine_chunks()
            table = table.take(rng.permutation(len(table)))
            for at in range(0, len(table) - BATCH + 1, BATCH):
                part = table.slice(at, BATCH).combine_chunks()
                actions = part["action"].chunk(0).flatten().to_numpy().reshape(-1, HORIZON * DIM)
                yield part["image"].to_pylist(), actions, part["prompt"].to_pylist(), part["target"].to_pylist()


CONTENDERS: dict[str, tuple[str, Callable[[Path], Stream]]] = {
    "fasttok global": ("pyarrow", lambda folder: ours(folder, "global", COLUMNS)),
    "fasttok block": ("pyarrow", lambda folder: ours(folder, "block", COLUMNS)),
    "fasttok global, all columns": ("pyarrow", lambda folder: ours(folder, "global", None)),
    "fasttok block, all columns": ("pyarrow", lambda folder: ours(folder, "block", None)),
    "tf.data, RLDS": ("tensorflow", tf_data),
    "WebDataset": ("webdataset", webdataset),
    "HF datasets, shuffled indices": ("datasets", lambda folder: hugging_face(folder, False)),
    "HF datasets, streaming": ("datasets", lambda folder: hugging_face(folder, True)),
    "Parquet row groups": ("pyarrow", parquet),
}


def installed(name: str) -> str | None:
    """Version of the package that a contender needs, in this interpreter."""
    try:
        return version(CONTENDERS[name][0])
    except PackageNotFoundError:
        return None
