"""Shards for Grain: a random-access source in the global order, and a dataset of batches, both with checkpointable positions.

rows = grain.MapDataset.source(ShardSource("shards", epochs=3)).map(encode).batch(256)      # do not shuffle: it is shuffled
batches = ShardIterDataset("shards", 256, mode="block", rank=jax.process_index(), world=jax.process_count()).map(encode)
iterator = iter(batches); iterator.get_state(); iterator.set_state(state)
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from fasttok.errors import InputError, require
from pipelines.shards.batch import Batch, ReadState
from pipelines.shards.order import GlobalOrder
from pipelines.shards.reader import ShardReader
from pipelines.shards.schedule import Weights

grain = require("grain", "grain", "reading shards as a Grain dataset")
if TYPE_CHECKING:
    IterDataset = object  # Grain is optional, so nothing is known of it here
    DatasetIterator = object
else:
    IterDataset, DatasetIterator = grain.IterDataset, grain.DatasetIterator
BLOCK, KEPT = 64, 32  # rows read at a time around the one asked for, and how many such blocks are kept


class SourceOptions(NamedTuple):
    """The options of a `ShardSource`."""

    weights: Weights | None
    seed: int
    epochs: int
    columns: Sequence[str] | None
    block: int


class ShardSource:
    """Rows by their position in the global order: `source[0]` is its first sample, as a dict of Python values.

    `block` rows are read together and kept for a while, as positions are asked for in turn; where they are not (a shuffle, or a
    stride of many processes), `block=1` reads only what is asked for. Threads may share a source; it may be pickled.
    """

    def __init__(
        self,
        shards: str | ShardReader,
        *,
        weights: Weights | None = None,
        seed: int = 0,
        epochs: int = 1,
        columns: Sequence[str] | None = None,
        block: int = BLOCK,
    ) -> None:
        """Opens the manifest only.

        Args:
            shards: SHARDS or a reader of them.
            weights: as in `ShardReader.batches`.
            seed: of the permutations.
            epochs: `len(source)` is `epochs * num_rows`; each epoch has another order.
            columns: which columns to read; all by default.
            block: see above.

        Raises:
            InputError: as `ShardReader.batches`; a block of no rows.
        """
        if block < 1 or epochs < 1:
            raise InputError(f"a source needs block >= 1 and epochs >= 1; got {block} and {epochs}")
        self.reader = ShardReader(shards) if isinstance(shards, str) else shards
        self.reader.batches(1, weights=weights, columns=columns)  # says now what is wrong with the arguments
        self._options = SourceOptions(weights, seed, epochs, columns, block)
        self._order = GlobalOrder(self.reader.layout, self.reader.schedule(weights), seed)
        self._columns, self._block, self._epochs = columns, block, epochs
        self._kept: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._epochs * self.reader.num_rows

    def __getitem__(self, position: int) -> dict[str, Any]:
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of {len(self)}")
        number, inside = divmod(int(position), self._block)
        with self._lock:
            rows = self._kept.get(number)
        if rows is None:
            start = number * self._block
            shard, row = self._order.rows(start, min(start + self._block, len(self)))
            rows = list(self.reader.take(shard, row, self._columns).rows())
            with self._lock:
                self._kept[number] = rows
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return dict(rows[inside])

    def __repr__(self) -> str:  # Grain compares it when a checkpoint is restored
        return f"ShardSource(manifest={self.reader.digest[:16]}, {self._options._asdict()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _source, (self.reader, self._options)


class ShardIterDataset(IterDataset):
    """Batches of `ShardReader.batches`; its iterators hold the reader's state."""

    def __init__(
        self, shards: str | ShardReader, n: int, *, transform: Callable[[Batch], Any] | None = None, **order: Any
    ) -> None:
        """Opens the manifest only.

        Args:
            shards: SHARDS or a reader of them.
            n: samples in a global batch, over all ranks.
            transform: makes of a `pipelines.shards.batch.Batch` an element; `arrays` by default.
            order: mode, rank, world, weights, seed, epochs, window, pool, columns, workers, ahead of `ShardReader.batches`.

        Raises:
            InputError: as `ShardReader.batches`.
        """
        super().__init__()
        self._reader = ShardReader(shards) if isinstance(shards, str) else shards
        self._transform: Callable[[Batch], Any] = transform or arrays
        self._n, self._order = n, order
        self._after(None)  # says now what is wrong with the arguments

    def __iter__(self) -> "_Batches":
        return _Batches(self)

    def _after(self, state: ReadState | None) -> Iterator[Batch]:
        """Batches after a position; None: from the beginning."""
        return self._reader.batches(self._n, state=state, **self._order)


class _Batches(DatasetIterator):
    """One pass, which may be moved."""

    def __init__(self, dataset: ShardIterDataset) -> None:
        super().__init__()
        self._dataset = dataset
        self._state: ReadState | None = None
        self._iterator: Iterator[Batch] | None = None

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._dataset._after(self._state)
        batch = next(self._iterator)
        self._state = batch.state
        return self._dataset._transform(batch)

    def get_state(self) -> dict[str, str | int]:
        """`ReadState.to_json` after the batch that was returned last."""
        return (self._state or ReadState(self._dataset._reader.digest, 0)).to_json()

    def set_state(self, state: Mapping[str, str | int]) -> None:
        """Goes on after this position."""
        self._state = ReadState.from_json(state)
        self._iterator = None


def arrays(batch: Batch) -> dict[str, list[Any] | NDArray[Any]]:
    """A batch as a dict: numbers, and lists whose rows have one width, as arrays over the batch's memory; the rest as lists."""
    return {name: batch.array(name) if batch.is_array(name) else batch[name] for name in batch.data}


def _source(reader: ShardReader, options: SourceOptions) -> ShardSource:
    return ShardSource(reader, **options._asdict())
