"""TFRecord framing: length, masked crc32c of the length, data, masked crc32c of the data (all little-endian).

A wrong length cannot be resynchronised, so it ends the file with one BadRecord for the rest; a wrong data checksum costs
just its record. A declared length is believed only after its checksum, and only within the file's size.
"""

import struct
from collections.abc import Iterator

import fsspec
import google_crc32c

from fasttok.episodes.episode import BadRecord, Where

HEADER, FOOTER = 12, 4


def masked_crc(data: bytes) -> int:
    """TFRecord's checksum: crc32c rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(file: str, verify: bool = True) -> Iterator[tuple[Where, bytes] | BadRecord]:
    """All records of a file (any fsspec path), in order; `verify` checks the data's crc too (the length's always is)."""
    filesystem, path = fsspec.core.url_to_fs(file)
    size, offset, number = filesystem.size(path), 0, 0
    with filesystem.open(path, "rb") as stream:
        while True:
            header = stream.read(HEADER)
            if not header:
                return
            if len(header) < HEADER:
                yield BadRecord(
                    Where(file, offset, size - offset, number), "truncated", f"{len(header)} bytes of a header"
                )
                return
            (length, crc) = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != crc:
                yield BadRecord(
                    Where(file, offset, size - offset, number), "crc", "length checksum; the rest of the file is lost"
                )
                return
            where = Where(file, offset, HEADER + length + FOOTER, number)
            if offset + where.length > size:
                yield BadRecord(
                    where, "truncated", f"the record needs {where.length} bytes, the file has {size - offset} left"
                )
                return
            data, footer = stream.read(length), stream.read(FOOTER)
            if verify and struct.unpack("<I", footer)[0] != masked_crc(data):
                yield BadRecord(where, "crc", "data checksum")
            else:
                yield where, data
            offset, number = offset + where.length, number + 1


def read_record(file: str, offset: int, length: int, number: int = 0, verify: bool = True) -> bytes | BadRecord:
    """The data of one record by its byte range, as an index recorded it."""
    where = Where(file, offset, length, number)
    filesystem, path = fsspec.core.url_to_fs(file)
    raw = filesystem.cat_file(path, start=offset, end=offset + length)
    if len(raw) != length or length < HEADER + FOOTER:
        return BadRecord(where, "truncated", f"got {len(raw)} bytes, the index says {length}")
    declared, length_crc = struct.unpack("<QI", raw[:HEADER])
    if masked_crc(raw[:8]) != length_crc or declared != length - HEADER - FOOTER:
        return BadRecord(where, "crc", "length checksum; the file changed since it was indexed")
    data = raw[HEADER:-FOOTER]
    if verify and struct.unpack("<I", raw[-FOOTER:])[0] != masked_crc(data):
        return BadRecord(where, "crc", "data checksum")
    return data
