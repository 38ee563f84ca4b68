"""Opens the files of shards: maps local and cached ones into memory, and reads remote ones by byte ranges; names damaged ones."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.next_command import command
from fasttok.errors import InputError
from pipelines.common.files import filesystem, is_local, join, sha256_file
from pipelines.shards.cache import ShardCache
from pipelines.shards.columns import buffers_of, slots
from pipelines.shards.manifest import Manifest, Shard
from pipelines.shards.ranged import RangedFile, Resident
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

IntArray = NDArray[np.int64]
MAPPED_SHARDS = 4096  # most shards mapped at a time: each costs address space and a file handle, not memory
CACHE_TRIES = 20  # tries to map a cached copy, which another process may evict before
SLOTS = sum(slots(field.type) for field in SCHEMA)


class ShardFiles:
    """The files of SHARDS, which are opened when they are first needed. Threads may share this object.

    Attributes:
        remote: whether the files are read by byte ranges, because they are neither local nor cached.
    """

    def __init__(self, folder: str, manifest: Manifest, cache: ShardCache | None, verify: bool) -> None:
        """Opens nothing.

        Args:
            folder: folder or URL of SHARDS.
            manifest: manifest of these shards.
            cache: cache for remote shards, None to read them by byte ranges.
            verify: whether to check the digest of each shard when it is first opened (copies in a cache are always checked).
        """
        self.folder = folder
        self.shards = manifest.shards
        self.local = is_local(filesystem(folder)[0])
        self.cache = None if self.local else cache
        self.remote = not self.local and cache is None
        self._verify = verify
        self._verified: set[int] = set()
        self._open: OrderedDict[int, _Mapped | _Ranged] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = [threading.Lock() for _ in range(64)]
        self._most = most_mapped()
        self._resident = Resident()

    def url(self, number: int) -> str:
        """Returns the path or URL of a shard."""
        return join(self.folder, self.shards[number].name)

    def record_batch(self, number: int, batch: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Returns a record batch of a shard, as a view of its file if that is mapped.

        Args:
            number: number of the shard.
            batch: number of the record batch in it.
            columns: names of the columns to return, None for all; from a remote shard, only these are read.

        Raises:
            InputError: the shard cannot be read.
        """
        opened = self._opened(number)
        return opened.record_batch(batch) if columns is None else opened.columns(batch, columns)

    def buffers(self, shard: IntArray, batch: IntArray) -> tuple[IntArray, IntArray, list[Any]]:
        """Returns where the given record batches are in memory, for `pipelines.shards.gather`.

        Args:
            shard: (m,) int64, numbers of shards.
            batch: (m,) int64, numbers of record batches in these shards.

        Returns:
            (buffers (u, slots, 2) int64 of the u distinct record batches, at (m,) the number of each one among these, the objects
            that keep them in memory).

        Raises:
            InputError: a shard cannot be read; the message names it.
        """
        distinct, at = np.unique(shard << 32 | batch, return_inverse=True)
        table, keep = np.empty((len(distinct), SLOTS, 2), np.int64), []
        for i, key in enumerate(distinct.tolist()):
            table[i], owner = self._opened(key >> 32).buffers(key & 0xFFFFFFFF)
            keep.append(owner)
        return table, at, keep

    def bytes_of(self, numbers: Iterable[int]) -> int:
        """Returns the bytes of these shards, each counted once."""
        return sum(self.shards[number].bytes for number in set(map(int, numbers)))

    @property
    def cache_limit(self) -> int:
        """Bytes that the cache may contain; 0 without a cache."""
        return self.cache.limit if self.cache else 0

    def check_window(self, window: int) -> None:
        """Checks that a window of so many shards fits in the cache.

        Raises:
            InputError: it does not fit.
        """
        largest = sum(sorted((shard.bytes for shard in self.shards), reverse=True)[:window])
        if self.cache is not None and largest > self.cache.limit:
            raise InputError(
                f"{self.folder}: block mode reads a window of {window} shards in turns, up to {largest:,} bytes, and the cache "
                f"contains {self.cache.limit:,}: each would be copied many times. Give cache_bytes={2 * largest} (this window "
                "and the next), or a smaller window="
            )

    def fetch(self, number: int) -> None:
        """Copies a shard to the cache, if there is a cache."""
        if self.cache is not None:
            self.cache.path(self.url(number), self.shards[number])

    def _opened(self, number: int) -> "_Mapped | _Ranged":
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        with self._opening[
            number % len(self._opening)
        ]:  # one thread opens or copies a shard; threads that need other shards go on
            with self._lock:
                if number in self._open:
                    return self._open[number]
            opened = self._make(number)
            with self._lock:
                self._open[number] = opened
                # A file that the cache evicts stays on disk while it is mapped, so map no more bytes than the cache may contain.
                limit = self.cache.limit if self.cache else None
                while len(self._open) > 1 and (
                    len(self._open) > self._most or (limit and sum(self.shards[n].bytes for n in self._open) > limit)
                ):
                    self._open.popitem(last=False)
        return opened

    def _make(self, number: int) -> "_Mapped | _Ranged":
        shard, url = self.shards[number], self.url(number)
        if self._verify and self.cache is None and number not in self._verified:
            problem = file_problem(self.folder, shard)
            if problem:
                raise InputError(
                    f"{url}: {problem}; check all with: {command('fasttok-pipelines', 'lint', self.folder)}"
                )
            self._verified.add(number)
        try:
            if self.remote:
                return _Ranged(url, shard, self._resident, number)
            if self.cache is None:
                return _Mapped(url, shard, filesystem(url)[1])
            for _ in range(CACHE_TRIES):
                with contextlib.suppress(FileNotFoundError):
                    return _Mapped(url, shard, self.cache.path(url, shard))
            raise InputError(
                f"{url}: its copy in {self.cache.folder} was evicted {CACHE_TRIES} times before it could be opened: the "
                "processes that share the folder need more than cache_bytes; give more, or a smaller window="
            )
        except (OSError, pa.ArrowException) as error:
            refuse_pointer_at(url)
            raise unreadable(url, error) from None


class _OpenShard:
    """Code that mapped and ranged shards share."""

    def __init__(self, url: str, shard: Shard, source: Any) -> None:
        self.url = url
        self.rows = shard.rows
        self.reader = pa.ipc.open_file(source)
        if not self.reader.schema.equals(SCHEMA):
            raise InputError(f"{url}: its schema is not the record schema of this version; build the shards again")
        self.batches = -(-shard.rows // ROWS_PER_BATCH)
        if self.reader.num_record_batches != self.batches:
            raise InputError(
                f"{url}: {self.reader.num_record_batches} record batches, expected {self.batches} for {shard.rows} rows"
            )

    def columns(self, number: int, names: Sequence[str]) -> pa.RecordBatch:
        return self.record_batch(number).select(names)

    def record_batch(self, number: int, reader: Any = None) -> pa.RecordBatch:
        try:
            batch = (self.reader if reader is None else reader).get_batch(number)
        except (OSError, pa.ArrowException, IndexError) as error:
            raise unreadable(f"{self.url}: batch {number}", error) from None
        if batch.num_rows != min(ROWS_PER_BATCH, self.rows - number * ROWS_PER_BATCH):
            raise unreadable(f"{self.url}: batch {number}", f"it has {batch.num_rows} rows")
        return batch


class _Mapped(_OpenShard):
    """A shard that is mapped into memory; finds the places of its buffers once."""

    def __init__(self, url: str, shard: Shard, path: str) -> None:
        size = Path(path).stat().st_size
        if size != shard.bytes:
            raise unreadable(url, size_problem(size, shard.bytes))
        mapped = pa.memory_map(path)
        self.memory = mapped.read_buffer(size)
        mapped.seek(0)
        super().__init__(url, shard, mapped)
        self._buffers: list[IntArray | None] = [None] * self.batches

    def buffers(self, number: int) -> tuple[IntArray, Any]:
        found = self._buffers[number]
        if found is None:
            batch = self.record_batch(number)
            found = buffers_of(batch)
            low, high = found[:, 0], found.sum(axis=1)
            begin, end = self.memory.address, self.memory.address + self.memory.size
            # Arrow would unpack compressed bodies elsewhere and free them with the batch; our shards are not compressed.
            if found.shape != (SLOTS, 2) or ((low < high) & ((low < begin) | (high > end))).any():
                raise unreadable(f"{self.url}: batch {number}", "its buffers are outside the file (compressed?)")
            self._buffers[number] = found
        return found, self


class _Ranged(_OpenShard):
    """A remote shard: each record batch is one read of a byte range, and the batches used last stay in memory."""

    def __init__(self, url: str, shard: Shard, resident: Resident, number: int) -> None:
        self._file = partial(RangedFile, url, shard.bytes)
        super().__init__(url, shard, pa.PythonFile(self._file(), mode="r"))
        self._local = threading.local()
        self._resident = resident
        self._number = number
        self._lock = threading.Lock()

    def columns(self, number: int, names: Sequence[str]) -> pa.RecordBatch:
        readers = vars(self._local)  # one per thread, because a reader has one place in its file
        if (key := " ".join(names)) not in readers:
            options = pa.ipc.IpcReadOptions(included_fields=[SCHEMA.get_field_index(name) for name in names])
            try:
                readers[key] = pa.ipc.open_file(pa.PythonFile(self._file(), mode="r"), options=options)
            except (OSError, pa.ArrowException) as error:
                raise unreadable(self.url, error) from None
        return self.record_batch(number, readers[key]).select(names)

    def buffers(self, number: int) -> tuple[IntArray, Any]:
        found: tuple[IntArray, Any] | None = self._resident.get((self._number, number))
        if found is None:
            with self._lock:
                found = self._resident.get((self._number, number))
                if found is None:
                    batch = self.record_batch(number)
                    found = (buffers_of(batch), batch)
                    self._resident.put((self._number, number), found, batch.nbytes)
        return found


def most_mapped() -> int:
    """Returns how many shards may be mapped at a time: half of the files that this process may open, at most MAPPED_SHARDS."""
    try:
        import resource
    except ImportError:
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAPPED_SHARDS if limit < 0 else max(1, min(MAPPED_SHARDS, limit // 2))


def unreadable(where: str, why: object) -> InputError:
    """Returns the error for a shard that is not as it was written."""
    folder = where.split(": ")[0].rpartition("/")[0]
    return InputError(
        f"{where} cannot be read as a shard ({why}); check all with: {command('fasttok-pipelines', 'lint', folder)}"
    )


def size_problem(size: int, expected: int) -> str:
    """Returns how the size of a file differs from that in the manifest, in words."""
    return f"{'truncated' if size < expected else 'longer than written'}: {size:,} bytes, expected {expected:,}"


def file_problem(folder: str, shard: Shard) -> str | None:
    """Returns why the file of a shard is not what was written; None if it is."""
    try:
        digest, size = sha256_file(join(folder, shard.name))
    except FileNotFoundError:
        return "missing"
    if size != shard.bytes:
        return size_problem(size, shard.bytes)
    if digest != shard.sha256:
        return f"its bytes changed: sha256 {digest[:12]}..., expected {shard.sha256[:12]}..."
    return None
