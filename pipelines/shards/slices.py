"""Computes the positions that a rank reads, batch by batch, and copies the shards that it will need to the cache."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipelines.shards.order import BlockOrder
from pipelines.shards.shard_files import ShardFiles

FETCHERS = 2  # number of shards that are copied at a time


@dataclass(frozen=True)
class Slice:
    """A rank's share of one global batch.

    Attributes:
        low: first position of the slice.
        high: last position of the slice plus one.
        consumed: number of samples of the order that are consumed after the whole batch.
    """

    low: int
    high: int
    consumed: int


def slices(at: int, end: int | None, n: int, rank: int, world: int, turn: tuple[int, int] = (0, 1)) -> Iterator[Slice]:
    """Yields a rank's slices of the global batches from position `at` to `end` (None: no end).

    With `turn` (i, k), it yields only the slice of the i-th of every k batches.

    >>> [(s.low, s.high) for s in slices(0, 10, 4, rank=1, world=2)]
    [(2, 4), (6, 8), (9, 10)]
    """
    number = 0
    while end is None or at < end:
        size = n if end is None else min(n, end - at)
        if number % turn[1] == turn[0]:
            yield Slice(at + rank * size // world, at + (rank + 1) * size // world, at + size)
        at += size
        number += 1


def fetched_ahead(files: ShardFiles, order: BlockOrder, pieces: Iterator[Slice]) -> Iterator[Slice]:
    """Yields the same slices, and copies shards to the cache in threads, before they are read.

    These are the shards of the present window, and of the next one if both fit in the cache.
    """
    end = -1
    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch") as pool:
        try:
            for piece in pieces:
                if piece.low >= end:
                    end = order.window_end(piece.low)
                    wanted = [*order.window_shards(piece.low), *order.window_shards(end)]
                    if files.bytes_of(wanted) > files.cache_limit:
                        wanted = wanted[: len(order.window_shards(piece.low))]
                    for number in wanted:
                        pool.submit(files.fetch, int(number))  # an error is raised when the shard is read
                yield piece
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
