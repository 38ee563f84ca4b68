"""Checks the bytes of an HDF5 file before the library gets them, because damaged bytes can keep the library busy for ever."""

import struct
from typing import Protocol

HEAP = b"GCOL"  # begins a collection of texts and ragged rows
HEAP_HEADER, OBJECT_HEADER = 16, 16
LARGEST_HEAP = 1 << 30


class Seekable(Protocol):
    """A file that is open for reading."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a byte; returns its position."""
        ...

    def tell(self) -> int:
        """Returns the position of the next byte."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes."""
        ...

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills a buffer, or a part of it, with the next bytes; returns how many."""
        ...


class CheckedStream:
    """The stream through which h5py reads a file."""

    def __init__(self, stream: Seekable) -> None:
        self._stream = stream

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte; returns its position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Returns the position of the next byte."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes. h5py calls `readinto` instead, but accepts only objects that have `read` as files."""
        return self._stream.read(size)

    def readinto(self, buffer: memoryview) -> int:
        """Fills a buffer. Past the end of the file, where the library sometimes looks, it fills in zeros.

        Raises:
            OSError: the bytes are a damaged heap, which could keep the library busy for ever.
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
        """Refuses a heap whose objects do not follow each other up to its end.

        The library may read a heap in two pieces, so this reads the second one itself.
        """
        (size,) = struct.unpack_from("<Q", heap, 8)
        more = self._stream.read(size - len(heap)) if len(heap) < size <= LARGEST_HEAP else b""
        if size > LARGEST_HEAP or not _ends((heap + more)[:size]):
            raise OSError("a heap of texts is damaged: its objects do not follow each other to its end")


def _ends(heap: bytes) -> bool:
    """Returns whether every object of a heap leads to the next. The library follows them without checking their size."""
    at = HEAP_HEADER
    while at + OBJECT_HEADER <= len(heap):
        index, size = struct.unpack_from("<H6xQ", heap, at)
        step = OBJECT_HEADER + (size + 7) // 8 * 8 if index else size
        if step < OBJECT_HEADER or at + step > len(heap):
            return False
        at += step
    return True
