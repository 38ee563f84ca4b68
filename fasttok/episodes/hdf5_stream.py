"""The bytes of an HDF5 file on their way into the library, which damaged ones can keep busy for ever: those are refused here."""

import struct
from typing import Protocol

HEAP = b"GCOL"  # a collection of texts and ragged rows
HEAP_HEADER, OBJECT_HEADER = 16, 16


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
        if bytes(buffer[: len(HEAP)]) == HEAP and not _ends(bytes(buffer)):
            raise OSError("a heap of texts is damaged: an object in it has no size")
        return len(buffer)


def _ends(heap: bytes) -> bool:
    """Whether every object of a heap leads to the next; the library follows them without a look at their size."""
    at = HEAP_HEADER
    while at + OBJECT_HEADER <= len(heap):
        index, size = struct.unpack_from("<H6xQ", heap, at)
        step = OBJECT_HEADER + (size + 7) // 8 * 8 if index else size
        if step <= 0:
            return False
        at += step
    return True
