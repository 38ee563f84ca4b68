"""ShardReader reads rows in an order that is the same for any number of ranks and workers, and resumes from one number.

`pipelines.shards.order` computes which rows are at a position, and `pipelines.shards.gather` copies them out of the shards;
threads may do that ahead. docs/reading.md says when to use which mode.
"""

import hashlib
import warnings
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.errors import InputError, unknown_name
from mixtures.quota import interleave
from pipelines.common.files import join
from pipelines.shards.batch import Batch, ReadState
from pipelines.shards.cache import DEFAULT_BYTES, ShardCache
from pipelines.shards.columns import DamagedOffsetsError
from pipelines.shards.manifest import Manifest
from pipelines.shards.order import BlockOrder, GlobalOrder, Order, StorageLayout
from pipelines.shards.prefetch import in_order
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA
from pipelines.shards.schedule import Schedule, Weights
from pipelines.shards.shard_files import ShardFiles, file_problem, unreadable
from pipelines.shards.slices import Slice, fetched_ahead, slices

IntArray = NDArray[np.int64]
WINDOW, POOL = 8, 16  # shards, and record batches that block mode mixes: 4,096 rows, 45 MB at 11 KB per image


class ReaderOptions(NamedTuple):
    """Options to open a reader again in another process."""

    verify: bool | Literal["touch"]
    cache: str | None
    cache_bytes: int


class ShardReader:
    """Reads SHARDS: local shards are mapped into memory, remote ones are cached or read by byte ranges, through fsspec.

    Example:
        >>> for batch in ShardReader("shards").batches(256, rank=0, world=1):  # doctest: +SKIP
        ...     step(batch["action_tokens"])
    """

    def __init__(
        self,
        path: str,
        *,
        verify: bool | Literal["touch"] = False,
        cache: str | None = None,
        cache_bytes: int = DEFAULT_BYTES,
    ) -> None:
        """Opens the manifest only, unless `verify` is True.

        Args:
            path: SHARDS: a folder, or a URL that fsspec knows.
            verify: True checks the digest of every shard now; "touch" checks each shard when it is first read.
            cache: local folder for copies of remote shards, which processes and runs may share; None for none. Local shards need
                none.
            cache_bytes: maximum size of that folder in bytes; it keeps the shards used last.

        Raises:
            InputError: `path` contains no finished shards, or a shard is not what was written.
        """
        self.path = str(path)
        self._options = ReaderOptions("touch" if verify else False, cache, cache_bytes)
        self.manifest = Manifest.load(self.path)
        self.schema = SCHEMA
        self.sources = list(self.manifest.sources)
        self.layout = StorageLayout(self.sources, self.manifest.shards)
        self.digest = self.manifest.digest
        self.files = ShardFiles(
            self.path, self.manifest, ShardCache(cache, cache_bytes) if cache else None, verify == "touch"
        )
        self._warned = False
        if verify is True:
            self.verify()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._options)  # another process opens the files again

    @property
    def num_rows(self) -> int:
        """Number of rows in all shards."""
        return self.layout.total

    @property
    def tokenizer_folder(self) -> str:
        """Folder or URL of the tokenizer that made the FAST ids.

        Raises:
            InputError: the shards have no tokenizer, because they contain no robot rows.
        """
        if self.manifest.tokenizer is None:
            raise InputError(f"{self.path} contains no robot rows, so it has no tokenizer")
        return join(self.path, self.manifest.tokenizer.folder)

    def row(self, i: int) -> dict[str, Any]:
        """Returns row `i` in storage order, 0 <= i < num_rows, as plain values (arrays for lists of numbers).

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= i < self.num_rows:
            raise IndexError(f"row {i} of {self.num_rows}")
        return next(self.take(*self.layout.at(np.array([i]))).rows())

    def take(self, shard: IntArray, row: IntArray, columns: Collection[str] | None = None, consumed: int = 0) -> Batch:
        """Returns the given rows, in the given order.

        Args:
            shard: (m,) int64, number of the shard of each row.
            row: (m,) int64, number of each row in its shard.
            columns: names of the columns to read; None for all.
            consumed: number of samples for the state of the batch.

        Raises:
            InputError: a shard cannot be read; the message names it.
        """
        from pipelines.shards.gather import gather  # compiled on import, so only those who read rows wait for it

        names = SCHEMA.names if columns is None else columns
        batch = row // ROWS_PER_BATCH
        buffers, at, keep = self.files.buffers(shard, batch)
        try:
            data = gather(buffers, at, row - batch * ROWS_PER_BATCH, SCHEMA, names)
        except DamagedOffsetsError as damaged:
            number = damaged.number
            where = f"{self.files.url(int(shard[number]))}: batch {int(batch[number])}"
            raise unreadable(where, "its offsets are outside it") from None
        del keep
        return Batch(data, ReadState(self.digest, consumed))

    def record_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yields the record batches of a shard in storage order, as views of its file if that is mapped."""
        for batch in range(-(-self.manifest.shards[number].rows // ROWS_PER_BATCH)):
            yield self.files.record_batch(number, batch)

    def batches(  # noqa: PLR0913  public: each is a keyword that users set on its own
        self,
        n: int,
        mode: Literal["global", "block"] = "global",
        *,
        state: ReadState | None = None,
        rank: int = 0,
        world: int = 1,
        weights: Weights | None = None,
        seed: int = 0,
        epochs: int | None = None,
        window: int = WINDOW,
        pool: int = POOL,
        columns: Collection[str] | None = None,
        workers: int = 0,
        ahead: int | None = None,
        turn: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Yields batches: the order is cut into global batches of `n` samples, and this rank gets a contiguous slice of each.

        Args:
            n: number of samples in a global batch, a multiple of `world`.
            mode: "global" mixes all rows and keeps the mixture in every window of samples. "block" mixes `window` shards at a
                time (see `pipelines.shards.order`) and reads each record batch once per epoch; use it for remote shards and for
                speed.
            state: state after which to continue; None starts at the beginning.
            rank: this reader's number among `world` readers; the order does not depend on either.
            world: number of readers.
            weights: another mixture, as {source: weight}, in which sources that are left out give no samples. Or a curriculum: a
                list of `Phase(after, weights)`, the last of which has no end. None: sources in proportion to their rows, so that
                the first `num_rows` samples contain each row once; shards that were built with a curriculum follow it. Only for
                global mode.
            seed: seed of the permutations.
            epochs: stop after `epochs * num_rows` samples, at least 1 (the last batch may then be smaller, or empty on a rank);
                None never stops.
            window: number of shards that are open at a time, in block mode.
            pool: number of record batches of 256 rows that are mixed at a time, in block mode.
            columns: names of the columns to read; None for all. Images that you do not ask for are not read.
            workers: number of threads that read ahead; 0 reads when a batch is asked for. The order is the same.
            ahead: number of batches to read ahead; None for twice the workers.
            turn: (i, k): only the i-th of every k batches from `state` on, for k processes of one rank that take turns.

        Raises:
            InputError: numbers do not fit, a source or column is unknown, the state belongs to other shards or to another order,
                or the shards are empty.
        """
        self._check(n, rank, world, columns, epochs)
        order, name = self._order(mode, weights, seed, window, pool)
        self._check_state(state, name)
        self._warn(mode)
        at = state.consumed if state else 0
        end = None if epochs is None else int(epochs) * self.num_rows
        pieces = slices(at, end, n, rank, world, turn)
        return self._iterate(order, name, pieces, columns, workers, ahead)

    def verify(self) -> None:
        """Checks size, sha256, schema and row order of every shard against the manifest; shows progress.

        Raises:
            InputError: a shard is missing, truncated or changed; the message names each such shard.
        """
        from fasttok.common.console import track

        numbers = track(range(len(self.manifest.shards)), "verifying", unit="shards")
        problems = [problem for number in numbers for problem in self.shard_problems(number)]
        if problems:
            raise InputError("\n".join([f"{self.path}: {len(problems)} problem(s)", *problems]))

    def shard_problems(self, number: int) -> list[str]:
        """Returns what is wrong with a shard; [] if it is as the manifest says."""
        shard = self.manifest.shards[number]
        problem = file_problem(self.path, shard)
        if problem:
            return [f"{shard.name}: {problem}"]
        try:
            found = [name for batch in self.record_batches(number) for name in batch.column("source").to_pylist()]
        except InputError as error:
            return [str(error)]
        expected = [self.sources[i] for i in interleave(shard.rows_per_source)]
        return [] if found == expected else [f"{shard.name}: rows are not in the order of rows_per_source"]

    def schedule(self, weights: Weights | None = None) -> Schedule:
        """Returns the schedule of the global order: the source at each position, and the bounds that its windows keep."""
        if weights is None:
            return Schedule.as_stored(self.layout.source_rows, self.manifest.phases)
        return Schedule.of_weights(weights, self.sources, self.layout.source_rows, self.path)

    def _order(self, mode: str, weights: Weights | None, seed: int, window: int, pool: int) -> tuple[Order, str]:
        """Returns the order, and its name for the state."""
        if mode == "global":
            schedule = self.schedule(weights)
            table = np.concatenate([schedule.starts[:, None], schedule.weights], axis=1)
            shares = "held" if weights is None else hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()[:12]
            return GlobalOrder(self.layout, schedule, seed), f"global seed={seed} weights={shares}"
        if mode != "block":
            raise unknown_name("mode", mode, ("global", "block"))
        if weights is not None:
            raise InputError(
                'weights and curricula need mode="global": block mode reads whole record batches, in which sources are mixed as '
                "the shards were built. Leave out weights=, or build shards with these weights"
            )
        if len(self.manifest.phases) > 1:
            raise InputError(
                f"{self.path} was built with a curriculum, whose phases block mode cannot follow: "
                'read it with mode="global", or build shards of one phase'
            )
        if window < 1 or pool < 1:
            raise InputError(
                f"block mode mixes window >= 1 shards and pool >= 1 record batches; got {window} and {pool}"
            )
        self.files.check_window(window)
        return BlockOrder(self.layout, seed, window, pool), f"block seed={seed} window={window} pool={pool}"

    def _iterate(
        self,
        order: Order,
        name: str,
        pieces: Iterator[Slice],
        columns: Collection[str] | None,
        workers: int,
        ahead: int | None,
    ) -> Iterator[Batch]:
        def read(job: tuple[IntArray, IntArray, int]) -> Batch:
            shard, row, consumed = job
            return Batch(self.take(shard, row, columns).data, ReadState(self.digest, consumed, name))

        if self.files.cache is not None and isinstance(order, BlockOrder):
            pieces = fetched_ahead(self.files, order, pieces)
        jobs = ((*order.rows(piece.low, piece.high), piece.consumed) for piece in pieces)
        yield from in_order(read, jobs, workers, ahead)

    def _check(self, n: int, rank: int, world: int, columns: Collection[str] | None, epochs: int | None) -> None:
        if not self.num_rows:
            raise InputError(f"{self.path}: the shards have no rows")
        if n < 1 or world < 1 or n % world or not 0 <= rank < world:
            raise InputError(
                f"a global batch of {n} for rank {rank} of {world}: the batch must be a positive multiple of the ranks,"
                " and 0 <= rank < world"
            )
        if epochs is not None and (epochs < 1 or epochs != int(epochs)):
            raise InputError(f"epochs is {epochs}, expected a whole number >= 1, or None to read on and on")
        if columns is not None and not columns:
            raise InputError("columns is empty; name at least one column, or give None for all")
        for name in columns or ():
            if name not in SCHEMA.names:
                raise unknown_name("column", name, SCHEMA.names)

    def _check_state(self, state: ReadState | None, order: str) -> None:
        if state is None:
            return
        if state.manifest != self.digest:
            raise InputError(
                f"{self.path}: the state to go on from belongs to other shards (manifest {state.manifest[:12]}, here"
                f" {self.digest[:12]}); read the shards it was made with, or start without a state"
            )
        if state.order not in ("", order):
            raise InputError(
                f"{self.path}: the state to go on from counts samples of another order ({state.order}; here {order}), so samples "
                "would be lost and doubled; read with the same mode, seed and weights, or take ReadState(manifest, consumed), "
                "which has no order, to change it on purpose"
            )

    def _warn(self, mode: str) -> None:
        stored = sum(shard.bytes for shard in self.manifest.shards)
        cache = self.files.cache
        if mode == "block" or self._warned or self.files.local or (cache is not None and cache.limit >= stored):
            return
        self._warned = True
        what = f"a cache of {cache.limit:,} of their {stored:,} bytes" if cache else "no cache"
        warnings.warn(
            f'{self.path}: mode="global" reads rows from all over remote shards, with {what}: each row may cost a read of its '
            'record batch. mode="block" is meant for remote shards; or give cache=FOLDER that has room for them all',
            stacklevel=3,
        )


def _reopened(path: str, options: ReaderOptions) -> ShardReader:
    return ShardReader(path, verify=options.verify, cache=options.cache, cache_bytes=options.cache_bytes)
