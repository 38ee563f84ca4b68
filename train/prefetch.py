"""Prefetches batches: threads in the background read rows, encode their texts and decode their images."""

import os
import queue
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.shards import ReadState, ShardReader
from train.batches import Batcher, NumpyBatch
from train.examples import Encoder

PREFETCH = 4


@dataclass(frozen=True)
class PrefetchedBatch:
    """A batch for a step, and the position after it.

    Attributes:
        batch: this process's rows.
        state: position in the shards after the rows of all processes.
        sample_ids: ids of this process's rows.
    """

    batch: NumpyBatch
    state: ReadState
    sample_ids: list[str]


def prefetch(
    reader: ShardReader,
    encoder: Encoder,
    batcher: Batcher,
    size: int,
    *,
    threads: int = 0,
    **order: Any,
) -> Generator[PrefetchedBatch]:
    """Yields batches without end. A background thread makes a few of them ahead; an error in that thread is raised here.

    Args:
        reader: reads the shards.
        encoder: makes examples of their rows.
        batcher: makes batches of examples.
        size: rows of a batch, over all processes.
        threads: number of threads that decode images; 0: one for each core that this process may use.
        order: arguments of `ShardReader.batches`: state, weights, seed, rank and world.

    Yields:
        The next batch.

    Raises:
        InputError: a row or an image cannot be used.
    """
    ready: queue.Queue[Any] = queue.Queue(PREFETCH)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="decode") as pool:
                for read in reader.batches(size, **order):
                    examples = [encoder.row(row) for row in rows_of(read.columns)]
                    batch = batcher(examples, pool)
                    if not put(PrefetchedBatch(batch, read.state, list(read["sample_id"]))):
                        return
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns the columns of a reader's batch into one dict per row."""
    count = len(columns["kind"])
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]
