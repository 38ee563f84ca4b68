"""Computes which row is at each position of an order, from the manifest alone. It reads no shards and stores only caches.

Global: the schedule gives the source at position p and the number of its draw. A seeded permutation of the source's rows, a
different one in each epoch, turns the draw into a row.

Block: in each epoch, shards come in a seeded order, `window` of them at a time. The record batches (256 rows) of a window come in
a seeded order, `pool` of them at a time. The rows of a pool are mixed: sources alternate by the low-discrepancy sequence of the
pool's own counts, and the rows of each source come in a seeded order. So each row comes once per epoch, a record batch is read
once per epoch, at most `window` shards are open, and every window of samples inside a pool follows the pool's mixture.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.common.random_bits import shuffled
from pipelines.shards.manifest import Shard
from pipelines.shards.permute import order_key, permute
from pipelines.shards.records import ROWS_PER_BATCH
from pipelines.shards.schedule import Schedule

IntArray = NDArray[np.int64]
Rows = tuple[IntArray, IntArray]  # numbers of shards, and numbers of rows in them
FIRST_CHUNK, CHUNK = 1024, 16384  # positions computed at once: few at first, for an early batch; later more
KEPT_SHARDS = 64  # shards for which the source of each row is kept: 2 bytes per row


class Order(Protocol):
    """The order in which a reader returns rows."""

    def rows(self, start: int, stop: int) -> Rows:
        """Returns (shard, row in it), each (stop - start,) int64, of the positions start .. stop - 1."""
        ...


def alternate(counts: NDArray[np.int64]) -> NDArray[np.int16]:
    """Computes `mixtures.quota.interleave` with one sort of the draws' times (2j + 1) / 2w.

    The divisions round correctly. Two different times differ by 1 / 4w^2 or more, which is more than the rounding error for
    counts below 2**24, and equal times stay equal.

    >>> alternate(np.array([4, 2, 0, 1])).tolist()
    [0, 1, 0, 3, 0, 1, 0]
    """
    source = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
    draw = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    return source[np.argsort((2 * draw + 1) / (2 * counts[source]), kind="stable")]


class StorageLayout:
    """Storage order of the rows: shards in the manifest's order; inside a shard, `mixtures.quota.interleave` of its counts.

    Attributes:
        names: (k,) names of the sources.
        counts: (shards, k) number of rows of each source in each shard.
        ends: (shards, k) number of rows of each source up to the end of each shard.
        source_rows: (k,) number of rows of each source in all shards.
        rows: (shards,) number of rows in each shard.
        row_ends: (shards,) number of rows up to the end of each shard.
        total: number of rows in all shards.
    """

    def __init__(self, names: Sequence[str], shards: Sequence[Shard]) -> None:
        """Takes the sources and the shards of a manifest, in its order."""
        self.names = list(names)
        self.counts = np.array([s.rows_per_source for s in shards], np.int64).reshape(-1, len(self.names))
        self.ends = np.cumsum(self.counts, axis=0)
        self.source_rows = self.counts.sum(axis=0)
        self.rows = self.counts.sum(axis=1)
        self.row_ends = np.cumsum(self.rows)
        self.total = int(self.rows.sum())
        self._sources: OrderedDict[int, NDArray[np.int16]] = OrderedDict()

    def locate(self, source: IntArray, index: IntArray) -> Rows:
        """Returns (shard, row in it), each (m,) int64. `index` numbers the rows of each source in storage order."""
        shard = np.empty(len(index), np.int64)
        for i in np.unique(source):
            of = source == i
            shard[of] = np.searchsorted(self.ends[:, i], index[of], side="right")
        own = self.counts[shard, source]
        draw = index - (self.ends[shard, source] - own)
        row = draw.copy()
        # The same as `mixtures.quota.positions`, with weights that differ from row to row; a weight of 0 adds nothing.
        for other in range(len(self.names)):
            limit = (2 * draw + 1) * self.counts[shard, other] - (other > source)
            row += np.where(source == other, 0, (limit // own + 1) // 2)
        return shard, row

    def sources(self, shard: int) -> NDArray[np.int16]:
        """Returns (rows,) int16, the source of each row of a shard."""
        if shard not in self._sources:
            self._sources[shard] = alternate(self.counts[shard])
            if len(self._sources) > KEPT_SHARDS:
                self._sources.popitem(last=False)
        self._sources.move_to_end(shard)
        return self._sources[shard]

    def at(self, index: IntArray) -> Rows:
        """Returns (shard, row in it), each (m,) int64, of rows given by number in storage order."""
        shard = np.searchsorted(self.row_ends, index, side="right")
        return shard, index - (self.row_ends[shard] - self.rows[shard])


class GlobalOrder:
    """The order of global mode, which the module describes."""

    def __init__(self, layout: StorageLayout, schedule: Schedule, seed: int) -> None:
        self.layout = layout
        self.schedule = schedule
        self._keys = [order_key(seed, name) for name in layout.names]
        self._chunk = (0, 0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._length = FIRST_CHUNK // 2

    def rows(self, start: int, stop: int) -> Rows:
        """See `Order`."""
        if stop - start >= CHUNK:
            return self._rows(start, stop)
        begin, end, shard, row = self._chunk
        if not begin <= start <= stop <= end:
            onward = begin <= start <= end + CHUNK
            self._length = min(2 * self._length, CHUNK) if onward else FIRST_CHUNK
            begin, end = start, start + max(self._length, stop - start)
            shard, row = self._rows(begin, end)
            self._chunk = (begin, end, shard, row)
        return shard[start - begin : stop - begin], row[start - begin : stop - begin]

    def _rows(self, start: int, stop: int) -> Rows:
        source, draw = self.schedule.sequence(start, stop)
        index = np.empty(len(draw), np.int64)
        for i in np.unique(source):
            of = source == i
            size = int(self.layout.source_rows[i])
            epoch, place = np.divmod(draw[of], size)
            found = np.empty(len(place), np.int64)
            for e in np.unique(epoch):
                found[epoch == e] = permute(place[epoch == e], size, self._keys[i], int(e))
            index[of] = found
        return self.layout.locate(source, index)


class BlockOrder:
    """The order of block mode, which the module describes."""

    def __init__(self, layout: StorageLayout, seed: int, window: int, pool: int) -> None:
        self.layout = layout
        self.window = window
        self.pool = pool
        self._key = f"{seed}/block"
        self._epoch: tuple[int, IntArray, IntArray] | None = None
        self._group: tuple[tuple[int, int], Rows, IntArray] | None = None
        self._pool: tuple[tuple[int, int, int], Rows] | None = None

    def rows(self, start: int, stop: int) -> Rows:
        """See `Order`."""
        parts: list[Rows] = []
        while start < stop:
            begin, (shard, row) = self._pool_at(start)
            part = slice(start - begin, min(stop - begin, len(row)))
            parts.append((shard[part], row[part]))
            start = begin + part.stop
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([s for s, _ in parts]), np.concatenate([r for _, r in parts])

    def window_shards(self, position: int) -> IntArray:
        """Returns the shards of the window at a position, in the order of the epoch."""
        epoch, inside = divmod(position, self.layout.total)
        order, ends = self._shards(epoch)
        group = int(np.searchsorted(ends, inside, side="right")) // self.window
        return order[group * self.window : (group + 1) * self.window]

    def window_end(self, position: int) -> int:
        """Returns the first position after the window at a position."""
        epoch, inside = divmod(position, self.layout.total)
        _, ends = self._shards(epoch)
        group = int(np.searchsorted(ends, inside, side="right")) // self.window
        return epoch * self.layout.total + int(ends[min((group + 1) * self.window, len(ends)) - 1])

    def _pool_at(self, position: int) -> tuple[int, Rows]:
        """Returns (first position, rows) of the pool at a position."""
        epoch, inside = divmod(position, self.layout.total)
        order, ends = self._shards(epoch)
        group = int(np.searchsorted(ends, inside, side="right")) // self.window
        begin = int(ends[group * self.window - 1]) if group else 0
        batches, batch_ends = self._batches(epoch, group, order)
        number = int(np.searchsorted(batch_ends, inside - begin, side="right")) // self.pool
        begin += int(batch_ends[number * self.pool - 1]) if number else 0
        key = (epoch, group, number)
        if self._pool is None or self._pool[0] != key:
            chosen = slice(number * self.pool, (number + 1) * self.pool)
            self._pool = (key, self._mixed(batches[0][chosen], batches[1][chosen], "/".join(map(str, key))))
        return epoch * self.layout.total + begin, self._pool[1]

    def _shards(self, epoch: int) -> tuple[IntArray, IntArray]:
        """Returns the shards that have rows, in the order of an epoch, and the number of rows up to the end of each."""
        if self._epoch is None or self._epoch[0] != epoch:
            order = shuffled(f"{self._key}/{epoch}", len(self.layout.rows))
            order = order[self.layout.rows[order] > 0]
            self._epoch = (epoch, order, np.cumsum(self.layout.rows[order]))
        return self._epoch[1], self._epoch[2]

    def _batches(self, epoch: int, group: int, order: IntArray) -> tuple[Rows, IntArray]:
        """Returns the record batches of a window in order, (shard, number in it), and the count of rows up to the end of each."""
        if self._group is None or self._group[0] != (epoch, group):
            shards = order[group * self.window : (group + 1) * self.window]
            counts = -(-self.layout.rows[shards] // ROWS_PER_BATCH)
            shard = np.repeat(shards, counts)
            number = np.concatenate([np.arange(count) for count in counts])
            mixed = shuffled(f"{self._key}/{epoch}/{group}", len(shard))
            shard, number = shard[mixed], number[mixed]
            sizes = np.minimum(self.layout.rows[shard] - number * ROWS_PER_BATCH, ROWS_PER_BATCH)
            self._group = ((epoch, group), (shard, number), np.cumsum(sizes))
        return self._group[1], self._group[2]

    def _mixed(self, shards: IntArray, numbers: IntArray, key: str) -> Rows:
        """Returns the rows of these record batches in the order in which they are delivered."""
        shard, row, source = [], [], []
        for s, number in zip(shards.tolist(), numbers.tolist(), strict=True):
            place = slice(number * ROWS_PER_BATCH, min((number + 1) * ROWS_PER_BATCH, int(self.layout.rows[s])))
            shard.append(np.full(place.stop - place.start, s))
            row.append(np.arange(place.start, place.stop))
            source.append(self.layout.sources(s)[place])
        sources = np.concatenate(source)
        mixed = shuffled(f"{self._key}/{key}", len(sources))
        by_source = mixed[np.argsort(sources[mixed], kind="stable")]
        turns = alternate(np.bincount(sources, minlength=len(self.layout.names)))
        chosen = np.empty(len(mixed), np.int64)
        chosen[np.argsort(turns, kind="stable")] = by_source
        return np.concatenate(shard)[chosen], np.concatenate(row)[chosen]
