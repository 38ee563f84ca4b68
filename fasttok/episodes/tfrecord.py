"""Reads TFRecord files: length, masked crc32c of the length, data, masked crc32c of the data (all little-endian).

After a wrong length the next record cannot be found, so one BadRecord stands for the rest of the file. A wrong checksum of the
data costs only its record. A length counts only if its checksum is right and the record is within the file. A record longer than
what is allowed is skipped unread.
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import google_crc32c
import numpy as np

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import MAX_RECORD, BadRecord, Where

HEADER, FOOTER = 12, 4
SMALLEST_BUFFER = 1 << 16


@dataclass(frozen=True)
class RecordRange:
    """A range of neighbouring records of a file.

    Attributes:
        offset: first byte of the first record's frame.
        number: number of records in the file before the range.
        stop: number of the first record after the range, None for all up to the end of the file.
    """

    offset: int = 0
    number: int = 0
    stop: int | None = None


WHOLE = RecordRange()


def masked_crc(data: bytes | memoryview) -> int:
    """Returns TFRecord's checksum: crc32c rotated right by 15 bits, plus a constant.

    >>> hex(masked_crc(b"abc"))
    '0x21f1576e'
    """
    # The library accepts arrays, but no memoryviews.
    crc: int = google_crc32c.value(np.frombuffer(data, np.uint8) if isinstance(data, memoryview) else data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(file: str, verify: bool = True, most: int = MAX_RECORD) -> Iterator[tuple[Where, bytes] | BadRecord]:
    """Yields all records of a file, in order.

    Args:
        file: path or URL.
        verify: whether to check the crc of the data too; the crc of the length is always checked.
        most: largest size of a record in bytes; a larger one is a BadRecord.
    """
    for record in read_buffered(file, verify, most):
        yield record if isinstance(record, BadRecord) else (record[0], bytes(record[1][: record[2]]))


def too_large(where: Where, length: int, most: int) -> BadRecord:
    """Returns the BadRecord for a record of `length` bytes, if only `most` are allowed."""
    detail = f"{length:,} bytes, more than {most:,}; allow more with `index --max-record`, or `max_record` in the entry"
    return BadRecord(where, "size", detail)


def read_buffered(
    file: str, verify: bool = True, most: int = MAX_RECORD, part: RecordRange = WHOLE
) -> Iterator[tuple[Where, bytearray, int] | BadRecord]:
    """Does what `read_records` does for a part of a file; yields (place, buffer, length).

    The buffer contains the record only until the next one is read. (With a new buffer for each record, memory would go back to
    the system each time, and the page faults would cost more than the reading.)
    """
    filesystem, path = stores.filesystem(file)
    offset, number = part.offset, part.number
    buffer = bytearray(SMALLEST_BUFFER)
    with filesystem.open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)  # needs no request, as the size is known since the file was opened
        stream.seek(offset)
        header = stream.read(HEADER)
        while header and number != part.stop:
            rest = Where(file, offset, size - offset, number)
            if len(header) < HEADER:
                yield BadRecord(rest, "truncated", f"{len(header)} bytes of a header")
                return
            (length, crc) = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc:
                refuse_pointer_at(file)
                yield BadRecord(rest, "crc", "length checksum; the rest of the file is lost")
                return
            where = Where(file, offset, HEADER + length + FOOTER, number)
            if offset + where.length > size:
                found = f"the record needs {where.length} bytes, the file has {size - offset} left"
                yield BadRecord(where, "truncated", found)
                return
            if length > most:
                yield too_large(where, length, most)
                stream.seek(offset + where.length)
                header = stream.read(HEADER)
                offset, number = offset + where.length, number + 1
                continue
            if length + FOOTER + HEADER > len(buffer):
                buffer = bytearray(max(length + FOOTER + HEADER, 2 * len(buffer)))
            view = memoryview(buffer)
            got = _fill(stream, view[: length + FOOTER + HEADER])  # with the header of the next record
            if got < length + FOOTER:
                yield BadRecord(where, "truncated", f"the file ended after {got} of {length + FOOTER} bytes")
                return
            header = bytes(view[length + FOOTER : got])
            where = replace(where, checksum=struct.unpack("<I", view[length : length + FOOTER])[0])
            if verify and where.checksum != masked_crc(view[:length]):
                yield BadRecord(where, "crc", "data checksum")
            else:
                yield where, buffer, length
            offset, number = offset + where.length, number + 1


def _fill(stream: io.BufferedIOBase, view: memoryview) -> int:
    """Reads until the view is full or the file ends; returns the number of bytes read."""
    got = 0
    while got < len(view):
        count = stream.readinto(view[got:])
        if not count:
            break
        got += count
    return got


def cut(path: str, least: int) -> list[RecordRange]:
    """Cuts a local file into ranges of at least `least` bytes. It reads the headers of the frames, not the data.

    What comes after a damaged header belongs to the last range, whose reader says what is wrong.

    Args:
        path: path of the file.
        least: smallest size of a range in bytes.
    """
    starts = [(0, 0)]
    with Path(path).open("rb", buffering=0) as stream:
        size, offset, number = stream.seek(0, os.SEEK_END), 0, 0
        while size - offset >= least:
            if offset - starts[-1][0] >= least:
                starts.append((offset, number))
            stream.seek(offset)
            header = stream.read(HEADER)
            if len(header) < HEADER:
                break
            length, crc = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc or offset + HEADER + length + FOOTER > size:
                break
            offset, number = offset + HEADER + length + FOOTER, number + 1
    stops = [*(number for _, number in starts[1:]), None]
    return [RecordRange(*start, stop) for start, stop in zip(starts, stops, strict=True)]


def frame_words(path: str) -> Iterator[bytes]:
    """Yields the bytes around the data of each record of a local file: lengths and checksums, which change with the data.

    It ends at the end of the file, or at a length that leads past it.
    """
    with Path(path).open("rb", buffering=0) as stream:
        size, stop = stream.seek(0, os.SEEK_END), 0
        stream.seek(0)
        words = stream.read(HEADER)
        while len(words) >= HEADER:
            yield words
            stop += HEADER + int(struct.unpack("<Q", words[-HEADER:][:8])[0]) + FOOTER
            if stop > size:
                return
            stream.seek(stop - FOOTER)
            words = stream.read(FOOTER + HEADER)
        yield words


def large_records(file: str, most: int) -> dict[int, BadRecord]:
    """Returns number -> BadRecord of the records that are larger than `most` bytes.

    It reads only the lengths, and nothing if the whole file is not larger than `most`.
    """
    filesystem, path = stores.filesystem(file)
    size, offset, number = filesystem.size(path), 0, 0
    found: dict[int, BadRecord] = {}
    if size <= most:
        return found
    with filesystem.open(path, "rb") as stream:
        while len(header := stream.read(HEADER)) == HEADER:
            length, crc = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc:
                break
            where = Where(file, offset, HEADER + length + FOOTER, number)
            if length > most:
                found[number] = too_large(where, length, most)
            offset, number = offset + where.length, number + 1
            if offset > size:
                break
            stream.seek(offset)
    return found


def read_record(
    file: str, offset: int, length: int, number: int = 0, verify: bool = True, most: int = MAX_RECORD
) -> bytes | BadRecord:
    """Reads the data of one record by its byte range, as an INDEX stores it.

    Args:
        file: path or URL.
        offset: first byte of the record's frame.
        length: length of the frame in bytes.
        number: number of records before it in the file.
        verify: whether to check the crc of the data too.
        most: largest size of a record in bytes; a larger one is a BadRecord.
    """
    where = Where(file, offset, length, number)
    if length - HEADER - FOOTER > most:
        return too_large(where, length - HEADER - FOOTER, most)
    filesystem, path = stores.filesystem(file)
    raw: bytes = filesystem.cat_file(path, start=offset, end=offset + length)
    if len(raw) != length or length < HEADER + FOOTER:
        refuse_pointer_at(file)
        return BadRecord(where, "truncated", f"got {len(raw)} bytes, the index says {length}")
    declared, length_crc = struct.unpack("<QI", raw[:HEADER])
    if masked_crc(raw[:8]) != length_crc or declared != length - HEADER - FOOTER:
        refuse_pointer_at(file)
        return BadRecord(where, "crc", "length checksum; the file changed since it was indexed")
    data = raw[HEADER:-FOOTER]
    if verify and struct.unpack("<I", raw[-FOOTER:])[0] != masked_crc(data):
        return BadRecord(where, "crc", "data checksum")
    return data
