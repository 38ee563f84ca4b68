"""Reads shards with Grain: a random-access source in the global order, and a dataset of batches. Positions can be checkpointed.

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
    IterDataset = object  # Grain is optional, so the type checker has no types of it
    DatasetIterator = object
else:
    IterDataset, DatasetIterator = grain.IterDataset, grain.DatasetIterator
BLOCK, KEPT = 64, 32  # rows that are read together, and the number of such blocks that are kept


class SourceOptions(NamedTuple):
    """The options of a `ShardSource`."""

    weights: Weights | None
    seed: int
    epochs: int
    columns: Sequence[str] | None
    block: int


class ShardSource:
    """Rows by their position in the global order: `source[0]` is its first sample, as a dict of Python values.

    A source reads `block` rows together and keeps them for a while, because most loaders ask for positions in ascending order.
    If yours does not (it shuffles, or each of many processes takes every n-th row), use `block=1`, which reads only the rows
    asked for. Threads may share a source; it may be pickled.
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
            shards: folder or URL of SHARDS, or a reader of them.
            weights: as in `ShardReader.batches`.
            seed: seed of the permutations.
            epochs: number of epochs, at least 1: `len(source)` is `epochs * num_rows`, and each epoch has another order.
            columns: names of the columns to read; None for all.
            block: number of rows that are read together, at least 1.

        Raises:
            InputError: as in `ShardReader.batches`; or `block` or `epochs` is less than 1.
        """
        if block < 1 or epochs < 1:
            raise InputError(f"a source needs block >= 1 and epochs >= 1; got {block} and {epochs}")
        self.reader = ShardReader(shards) if isinstance(shards, str) else shards
        self.reader.batches(1, weights=weights, columns=columns)  # reports wrong arguments now
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
    """Batches of `ShardReader.batches`; the state of an iterator is the position of the reader."""

    def __init__(
        self, shards: str | ShardReader, n: int, *, transform: Callable[[Batch], Any] | None = None, **order: Any
    ) -> None:
        """Opens the manifest only.

        Args:
            shards: folder or URL of SHARDS, or a reader of them.
            n: number of samples in a global batch, over all ranks.
            transform: turns a `pipelines.shards.batch.Batch` into an element of the dataset; None for `arrays`.
            order: arguments of `ShardReader.batches`: mode, rank, world, weights, seed, epochs, window, pool, columns, workers,
                ahead.

        Raises:
            InputError: as in `ShardReader.batches`.
        """
        super().__init__()
        self._reader = ShardReader(shards) if isinstance(shards, str) else shards
        self._transform: Callable[[Batch], Any] = transform or arrays
        self._n, self._order = n, order
        self._after(None)  # reports wrong arguments now

    def __iter__(self) -> "_Batches":
        return _Batches(self)

    def _after(self, state: ReadState | None) -> Iterator[Batch]:
        """Returns the batches after a position; None for the beginning."""
        return self._reader.batches(self._n, state=state, **self._order)


class _Batches(DatasetIterator):
    """One pass over the batches, whose position can be set."""

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
        """Returns `ReadState.to_json` after the batch that was returned last."""
        return (self._state or ReadState(self._dataset._reader.digest, 0)).to_json()

    def set_state(self, state: Mapping[str, str | int]) -> None:
        """Continues after this position."""
        self._state = ReadState.from_json(state)
        self._iterator = None


def arrays(batch: Batch) -> dict[str, list[Any] | NDArray[Any]]:
    """Returns a batch as a dict of columns.

    Numbers, and lists of equal length in all rows, become arrays that share the batch's memory; other columns become lists.
    """
    return {name: batch.array(name) if batch.is_array(name) else batch[name] for name in batch.data}


def _source(reader: ShardReader, options: SourceOptions) -> ShardSource:
    return ShardSource(reader, **options._asdict())
