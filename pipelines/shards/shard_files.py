"""Shards as files: mapped where they are local or cached, read by ranges where they are remote; damage is named."""

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
from fasttok.errors import InputError
from pipelines.common.files import filesystem, is_local, join, sha256_file
from pipelines.shards.cache import ShardCache
from pipelines.shards.columns import buffers_of, slots
from pipelines.shards.manifest import Manifest, Shard
from pipelines.shards.ranged import RangedFile, Resident
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

IntArray = NDArray[np.int64]
MAPPED_SHARDS = 4096  # mapped at a time: each costs address space and a file handle, not memory
CACHE_TRIES = 20  # another process may evict a copy before it is mapped
SLOTS = sum(slots(field.type) for field in SCHEMA)


class ShardFiles:
    """The files of SHARDS, opened when they are first needed. Threads may share it.

    Attributes:
        remote: they are read by ranges: neither local nor cached.
    """

    def __init__(self, folder: str, manifest: Manifest, cache: ShardCache | None, verify: bool) -> None:
        """Opens nothing.

        Args:
            folder: SHARDS.
            manifest: of them.
            cache: of remote shards, None to read these by ranges.
            verify: check each shard's digest when it is first opened (copies to a cache are always checked).
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
        """Where a shard lies."""
        return join(self.folder, self.shards[number].name)

    def record_batch(self, number: int, batch: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """One record batch of a shard; a view of its file where that is mapped.

        Args:
            number: of the shard.
            batch: of the record batch in it.
            columns: to have; all by default. Of a remote shard, no others are read.

        Raises:
            InputError: it cannot be read.
        """
        opened = self._opened(number)
        return opened.record_batch(batch) if columns is None else opened.columns(batch, columns)

    def buffers(self, shard: IntArray, batch: IntArray) -> tuple[IntArray, IntArray, list[Any]]:
        """Where the given record batches are in memory, for `pipelines.shards.gather`.

        Args:
            shard: (m,) int64, numbers of shards.
            batch: (m,) int64, numbers of record batches in them.

        Returns:
            (buffers (u, slots, 2) of the distinct ones, at (m,) which of them, what keeps them in memory).

        Raises:
            InputError: names the shard that cannot be read.
        """
        distinct, at = np.unique(shard << 32 | batch, return_inverse=True)
        table, keep = np.empty((len(distinct), SLOTS, 2), np.int64), []
        for i, key in enumerate(distinct.tolist()):
            table[i], owner = self._opened(key >> 32).buffers(key & 0xFFFFFFFF)
            keep.append(owner)
        return table, at, keep

    def bytes_of(self, numbers: Iterable[int]) -> int:
        """Bytes of these shards, each counted once."""
        return sum(self.shards[number].bytes for number in set(map(int, numbers)))

    @property
    def cache_limit(self) -> int:
        """Bytes that the cache may hold; 0 without one."""
        return self.cache.limit if self.cache else 0

    def check_window(self, window: int) -> None:
        """Whether the cache can hold a window of so many shards.

        Raises:
            InputError: it cannot.
        """
        largest = sum(sorted((shard.bytes for shard in self.shards), reverse=True)[:window])
        if self.cache is not None and largest > self.cache.limit:
            raise InputError(
                f"{self.folder}: block mode reads a window of {window} shards in turns, up to {largest:,} bytes, and the cache "
                f"contains {self.cache.limit:,}: each would be copied many times. Give cache_bytes={2 * largest} (this window "
                "and the next), or a smaller window="
            )

    def fetch(self, number: int) -> None:
        """Brings a shard to the cache, where there is one."""
        if self.cache is not None:
            self.cache.path(self.url(number), self.shards[number])

    def _opened(self, number: int) -> "_Mapped | _Ranged":
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        with self._opening[
            number % len(self._opening)
        ]:  # one thread opens or copies a shard, others do not wait for it
            with self._lock:
                if number in self._open:
                    return self._open[number]
            opened = self._make(number)
            with self._lock:
                self._open[number] = opened
                # What the cache evicts stays on disk as long as it is mapped: so no more is mapped than the cache may hold.
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
                raise InputError(f"{url}: {problem}; check all with: fasttok-pipelines lint {self.folder}")
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
    """What mapped and ranged shards share."""

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
    """A shard in the address space; the places of its buffers are found once."""

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
            # Compressed bodies would be unpacked elsewhere and freed with the batch; we write none.
            if found.shape != (SLOTS, 2) or ((low < high) & ((low < begin) | (high > end))).any():
                raise unreadable(f"{self.url}: batch {number}", "its buffers are outside the file (compressed?)")
            self._buffers[number] = found
        return found, self


class _Ranged(_OpenShard):
    """A remote shard: a record batch is one ranged read, and the last ones read are kept."""

    def __init__(self, url: str, shard: Shard, resident: Resident, number: int) -> None:
        self._file = partial(RangedFile, url, shard.bytes)
        super().__init__(url, shard, pa.PythonFile(self._file(), mode="r"))
        self._local = threading.local()
        self._resident = resident
        self._number = number
        self._lock = threading.Lock()

    def columns(self, number: int, names: Sequence[str]) -> pa.RecordBatch:
        readers = vars(self._local)  # of this thread: a reader has one place in its file
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
    """How many shards may be mapped at a time: half of the files that this process may open."""
    try:
        import resource
    except ImportError:
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAPPED_SHARDS if limit < 0 else max(1, min(MAPPED_SHARDS, limit // 2))


def unreadable(where: str, why: object) -> InputError:
    """What to say about a shard that is not as it was written."""
    folder = where.split(": ")[0].rpartition("/")[0]
    return InputError(f"{where} cannot be read as a shard ({why}); check all with: fasttok-pipelines lint {folder}")


def size_problem(size: int, expected: int) -> str:
    """How a file's size differs from the manifest's."""
    return f"{'truncated' if size < expected else 'longer than written'}: {size:,} bytes, expected {expected:,}"


def file_problem(folder: str, shard: Shard) -> str | None:
    """Why a shard's file is not what was written, or None."""
    try:
        digest, size = sha256_file(join(folder, shard.name))
    except FileNotFoundError:
        return "missing"
    if size != shard.bytes:
        return size_problem(size, shard.bytes)
    if digest != shard.sha256:
        return f"its bytes changed: sha256 {digest[:12]}..., expected {shard.sha256[:12]}..."
    return None
