"""Reads remote files by byte ranges; `pipelines.shards.shard_files` uses it for remote shards if there is no cache."""

import io
import threading
from collections import OrderedDict
from typing import Any

from pipelines.common.files import filesystem

RESIDENT_BYTES = 256 << 20  # record batches of remote shards that are kept in memory


class Resident:
    """Keeps the record batches used last in memory, up to RESIDENT_BYTES."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> Any:
        """Returns the record batch with key (shard, number), None if it is not kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: tuple[int, int], value: Any, size: int) -> None:
        """Keeps a record batch of `size` bytes."""
        with self._lock:
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > RESIDENT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]


class RangedFile(io.RawIOBase):
    """A remote file of known size; each read is one request."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self._fs, self._path = filesystem(url)
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the offset at which the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Changes the offset of the next read, with the arguments of io.IOBase, and returns it."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Reads `size` bytes, or all that follow if it is None or negative, with one request."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = self._fs.cat_file(self._path, start=self._at, end=end) if end > self._at else b""
        self._at += len(data)
        return data
