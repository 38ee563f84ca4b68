"""ShardReader: rows in an order that keeps the mixture in every window, the same for any number of ranks.

Global mode. Position p of the endless order names a source by the low-discrepancy sequence of the weights
(`mixtures.quota.sequence`) and a draw of that source; the draw names a row by a seeded permutation of the source's rows,
another one each epoch. All three are computed from p, so nothing is buffered and the state is one number.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.errors import InputError, unknown_name
from mixtures.quota import interleave, positions, quotas, sequence
from pipelines.files import filesystem, is_local, join, sha256_file
from pipelines.manifest import Manifest, Shard
from pipelines.permute import order_key, permute
from pipelines.records import ROWS_PER_BATCH, SCHEMA

WEIGHT_UNITS = 1 << 20  # float weights become integers of this sum: shares are exact to one millionth
OPEN_SHARDS = 256  # mapped at a time: a mapping costs address space and a file handle, not memory
ARRAYS = ("action", "action_tokens", "state")
NUMBERS = ("action_steps", "offset", "episode", "step")


@dataclass(frozen=True)
class ReadState:
    """How far the reading is: goes into a checkpoint as `to_json()`.

    Attributes:
        manifest: digest of the manifest; a state of other shards is refused.
        consumed: samples of the global order handed out so far, over all ranks.
    """

    manifest: str
    consumed: int

    def to_json(self) -> dict[str, Any]:
        return {"manifest": self.manifest, "consumed": self.consumed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ReadState":
        return cls(str(value["manifest"]), int(value["consumed"]))


@dataclass(frozen=True)
class Batch:
    """A rank's slice of a global batch, and the state after that whole batch.

    Attributes:
        columns: per column of `pipelines.records.SCHEMA` a list of row values (text, bytes or None) or of arrays (action,
            state float32; action_tokens int32), or for single numbers one integer array.
        state: pass it to `batches(state=...)` to go on after this batch, with any number of ranks.
    """

    columns: dict[str, list[Any] | np.ndarray]
    state: ReadState

    def __len__(self) -> int:
        return len(self.columns["kind"])


class ShardReader:
    """Reads SHARDS. Local shards are memory-mapped; others are read through fsspec.

    Example:
        >>> for batch in ShardReader("shards").batches(256, rank=0, world=1):  # doctest: +SKIP
        ...     step(batch.columns["action_tokens"])
    """

    def __init__(self, path: str) -> None:
        """Opens the manifest only.

        Raises:
            InputError: `path` holds no finished shards.
        """
        self.path = str(path)
        self.manifest = Manifest.load(self.path)
        self.schema = SCHEMA
        self.sources = list(self.manifest.sources)
        counts = np.array([s.rows_per_source for s in self.manifest.shards], np.int64).reshape(-1, len(self.sources))
        self.ends = np.cumsum(counts, axis=0)  # (shards, sources): rows of a source up to and with a shard
        self._row_ends = np.cumsum([s.rows for s in self.manifest.shards])
        self._open: OrderedDict[int, pa.RecordBatchFileReader] = OrderedDict()

    @property
    def num_rows(self) -> int:
        """Rows in all shards."""
        return self.manifest.num_rows

    @property
    def tokenizer_folder(self) -> str:
        """Where the tokenizer lies that made the FAST ids.

        Raises:
            InputError: the shards hold no robot rows, so there is none.
        """
        if self.manifest.tokenizer is None:
            raise InputError(f"{self.path} holds no robot rows, so it has no tokenizer")
        return join(self.path, self.manifest.tokenizer["folder"])

    def row(self, i: int) -> dict[str, Any]:
        """Row `i` in storage order, 0 <= i < num_rows, as plain values (arrays for the list columns).

        Raises:
            IndexError: no such row.
        """
        if not 0 <= i < self.num_rows:
            raise IndexError(f"row {i} of {self.num_rows}")
        shard = int(np.searchsorted(self._row_ends, i, side="right"))
        inside = i - (int(self._row_ends[shard - 1]) if shard else 0)
        columns = self._take(np.array([shard]), np.array([inside]))
        return {name: column[0] for name, column in columns.items()}

    def record_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        """The record batches of one shard in storage order, as views of its file."""
        reader = self._reader(number)
        for batch in range(reader.num_record_batches):
            yield reader.get_batch(batch)

    def batches(
        self,
        n: int,
        state: ReadState | None = None,
        rank: int = 0,
        world: int = 1,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        epochs: int | None = None,
    ) -> Iterator[Batch]:
        """The global order, cut into batches of `n` samples, of which this rank gets its contiguous slice.

        Args:
            n: samples in a global batch, a multiple of `world`.
            state: go on after this state; None starts at the beginning.
            rank: this reader's number among `world` readers; the order does not depend on either.
            world: number of readers.
            weights: another mixture, as {source: weight}; sources left out give nothing. None: as the shards hold them, so
                that `num_rows` samples are each row once.
            seed: of the permutations.
            epochs: stop after `epochs * num_rows` samples (the last batch may then be smaller, down to nothing on a rank);
                None never stops.

        Raises:
            InputError: numbers that do not fit, an unknown source, a state of other shards, empty shards.
        """
        self._check(n, rank, world, state)
        order = _Order(self, self._weights(weights), seed)
        at = state.consumed if state else 0
        end = None if epochs is None else epochs * self.num_rows
        return self._iterate(order, at, end, n, rank, world)

    def verify(self) -> None:
        """Checks size, sha256, schema and row order of every shard against the manifest.

        Raises:
            InputError: names each shard that is missing, truncated or changed.
        """
        problems = [p for number in range(len(self.manifest.shards)) for p in self.shard_problems(number)]
        if problems:
            raise InputError("\n".join([f"{self.path}: {len(problems)} problem(s)", *problems]))

    def shard_problems(self, number: int) -> list[str]:
        """What is wrong with one shard; empty when it is as the manifest says."""
        shard = self.manifest.shards[number]
        problem = file_problem(self.path, shard)
        if problem:
            return [f"{shard.name}: {problem}"]
        reader = self._reader(number)
        if not reader.schema.equals(SCHEMA):
            return [f"{shard.name}: its schema is not the record schema of this version"]
        found: list[str] = []
        for batch in range(reader.num_record_batches):
            found += reader.get_batch(batch).column("source").to_pylist()
        expected = [self.sources[i] for i in interleave(shard.rows_per_source)]
        return [] if found == expected else [f"{shard.name}: rows are not in the order of rows_per_source"]

    def _iterate(self, order: "_Order", at: int, end: int | None, n: int, rank: int, world: int) -> Iterator[Batch]:
        digest = self.manifest.digest
        while end is None or at < end:
            size = n if end is None else min(n, end - at)
            low, high = at + rank * size // world, at + (rank + 1) * size // world
            at += size
            yield Batch(self._take(*order.rows(low, high)), ReadState(digest, at))

    def _check(self, n: int, rank: int, world: int, state: ReadState | None) -> None:
        if not self.num_rows:
            raise InputError(f"{self.path}: the shards hold no rows")
        if n < 1 or world < 1 or n % world or not 0 <= rank < world:
            raise InputError(
                f"a global batch of {n} for rank {rank} of {world}: the batch must be a positive multiple of the ranks,"
                " and 0 <= rank < world"
            )
        if state is not None and state.manifest != self.manifest.digest:
            raise InputError(
                f"{self.path}: the state to go on from belongs to other shards (manifest {state.manifest[:12]}, here"
                f" {self.manifest.digest[:12]}); read the shards it was made with, or start without a state"
            )

    def _weights(self, weights: Mapping[str, float] | None) -> NDArray[np.int64]:
        held = self.ends[-1]
        if weights is None:
            return held
        for name in weights:
            if name not in self.sources:
                raise unknown_name("source", name, self.sources)
        wanted = np.array([float(weights.get(name, 0.0)) for name in self.sources])
        empty = [name for name, w, rows in zip(self.sources, wanted, held, strict=True) if w > 0 and not rows]
        if empty:
            raise InputError(f"{self.path}: weight given to {', '.join(empty)}, of which the shards hold no row")
        return np.where(wanted > 0, np.maximum(quotas(wanted, WEIGHT_UNITS), 1), 0)

    def locate(self, source: int, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, row in it), each (m,), of a source's rows numbered in storage order. Nothing is read."""
        shard = np.searchsorted(self.ends[:, source], index, side="right")
        row = np.empty_like(shard)
        for number in np.unique(shard):
            of = shard == number
            before = self.ends[number - 1, source] if number else 0
            counts = self.manifest.shards[number].rows_per_source
            row[of] = positions(counts, np.full(int(of.sum()), source), index[of] - before)
        return shard, row

    def _reader(self, shard: int) -> pa.RecordBatchFileReader:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        url = join(self.path, self.manifest.shards[shard].name)
        fs, path = filesystem(url)
        try:
            source = pa.memory_map(path) if is_local(fs) else pa.PythonFile(fs.open(path, "rb"), mode="r")
            reader = pa.ipc.open_file(source)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                f"{url}: cannot be read as a shard ({error}); check all with: python -m pipelines lint {self.path}"
            ) from None
        self._open[shard] = reader
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return reader

    def _take(self, shard: NDArray[np.int64], row: NDArray[np.int64]) -> dict[str, list[Any] | np.ndarray]:
        """The given rows as columns; only their own pages of the map are touched."""
        slices = []
        batches: dict[tuple[int, int], pa.RecordBatch] = {}
        for number, r in zip(shard.tolist(), row.tolist(), strict=True):
            key = (number, r // ROWS_PER_BATCH)
            if key not in batches:
                try:
                    batches[key] = self._reader(number).get_batch(key[1])
                except (OSError, pa.ArrowInvalid, IndexError) as error:
                    name = self.manifest.shards[number].name
                    raise InputError(
                        f"{join(self.path, name)}: batch {key[1]} cannot be read ({error}); check all with:"
                        f" python -m pipelines lint {self.path}"
                    ) from None
            slices.append(batches[key].slice(r % ROWS_PER_BATCH, 1))
        table = pa.Table.from_batches(slices, SCHEMA).combine_chunks()
        return {name: _column(name, table.column(name)) for name in SCHEMA.names}


def _column(name: str, chunked: pa.ChunkedArray) -> list[Any] | np.ndarray:
    if name in NUMBERS:
        return chunked.to_numpy()
    if name not in ARRAYS:
        return chunked.to_pylist()
    if not len(chunked):
        return []
    array = chunked.chunk(0)
    flat = array.values.to_numpy()
    offsets = array.offsets.to_numpy()
    # Copies, so that the arrays outlive the shard's mapping and may be written to.
    return [flat[a:b].copy() for a, b in pairwise(offsets)]


def file_problem(folder: str, shard: Shard) -> str | None:
    """Why a shard's file is not what was written, or None."""
    try:
        digest, size = sha256_file(join(folder, shard.name))
    except FileNotFoundError:
        return "missing"
    if size != shard.bytes:
        return (
            f"{'truncated' if size < shard.bytes else 'longer than written'}: {size:,} bytes, expected {shard.bytes:,}"
        )
    if digest != shard.sha256:
        return f"its bytes changed: sha256 {digest[:12]}..., expected {shard.sha256[:12]}..."
    return None


class _Order:
    """Positions of the global order -> rows; pure arithmetic over the manifest."""

    def __init__(self, reader: ShardReader, weights: NDArray[np.int64], seed: int) -> None:
        self._reader = reader
        self._weights = weights // max(int(np.gcd.reduce(weights)), 1)
        self._keys = [order_key(seed, name) for name in reader.sources]

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, row), each (stop - start,), of the positions start .. stop - 1."""
        source, draw = sequence(self._weights, start, stop)
        shard, row = np.zeros(len(source), np.int64), np.zeros(len(source), np.int64)
        for i in np.unique(source):
            of = source == i
            size = int(self._reader.ends[-1, i])
            epoch, place = np.divmod(draw[of], size)
            index = np.empty(len(place), np.int64)
            for e in np.unique(epoch):
                index[epoch == e] = permute(place[epoch == e], size, self._keys[i], int(e))
            shard[of], row[of] = self._reader.locate(int(i), index)
        return shard, row
