"""Remote files by ranges: what `pipelines.shards.shard_files` reads shards through where there is no cache."""

import io
import threading
from collections import OrderedDict
from typing import Any

from pipelines.common.files import filesystem

RESIDENT_BYTES = 256 << 20  # record batches of remote shards that are kept in memory


class Resident:
    """The record batches read last, up to RESIDENT_BYTES."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> Any:
        """A record batch by (shard, number), None if it is not kept."""
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
    """A remote file of known size, of which each read is one request."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self._fs, self._path = filesystem(url)
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves there, as io.IOBase has it."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or all that follow: one request."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = self._fs.cat_file(self._path, start=self._at, end=end) if end > self._at else b""
        self._at += len(data)
        return data
