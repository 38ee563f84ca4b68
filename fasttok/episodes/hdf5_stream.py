"""The bytes of an HDF5 file on their way into the library, which damaged ones can keep busy for ever: those are refused here."""

import struct
from typing import Protocol

HEAP = b"GCOL"  # a collection of texts and ragged rows
HEAP_HEADER, OBJECT_HEADER = 16, 16
LARGEST_HEAP = 1 << 30


class Seekable(Protocol):
    """A file that is open for reading."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Goes to a byte."""
        ...

    def tell(self) -> int:
        """The byte that comes next."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        ...

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills a buffer with the next bytes, or a part of it."""
        ...


class CheckedStream:
    """What h5py reads a file through."""

    def __init__(self, stream: Seekable) -> None:
        self._stream = stream

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to a byte."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The byte that comes next."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """The next bytes; h5py takes only objects that can do this for files, and calls `readinto`."""
        return self._stream.read(size)

    def readinto(self, buffer: memoryview) -> int:
        """Fills a buffer, with zeros past the end of the file, where the library looks now and then.

        Raises:
            OSError: the bytes are a heap that does not end.
        """
        filled = 0
        while filled < len(buffer) and (count := self._stream.readinto(buffer[filled:])):
            filled += count
        if filled < len(buffer):
            buffer[filled:] = bytes(len(buffer) - filled)
        if bytes(buffer[: len(HEAP)]) == HEAP and len(buffer) >= HEAP_HEADER:
            self._check_heap(bytes(buffer))
        return len(buffer)

    def _check_heap(self, heap: bytes) -> None:
        """Refuses a heap whose objects do not lead from one to the next up to its end; the library may read it in two pieces."""
        (size,) = struct.unpack_from("<Q", heap, 8)
        more = self._stream.read(size - len(heap)) if len(heap) < size <= LARGEST_HEAP else b""
        if size > LARGEST_HEAP or not _ends((heap + more)[:size]):
            raise OSError("a heap of texts is damaged: its objects do not follow each other to its end")


def _ends(heap: bytes) -> bool:
    """Whether every object of a heap leads to the next; the library follows them without a look at their size."""
    at = HEAP_HEADER
    while at + OBJECT_HEADER <= len(heap):
        index, size = struct.unpack_from("<H6xQ", heap, at)
        step = OBJECT_HEADER + (size + 7) // 8 * 8 if index else size
        if step < OBJECT_HEADER or at + step > len(heap):
            return False
        at += step
    return True
