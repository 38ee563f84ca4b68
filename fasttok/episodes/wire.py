"""Reads a `tf.train.Example` from its protobuf wire format: name -> array or list of byte strings.

The message is three levels of maps and lists, so it needs no schema compiler and no TensorFlow (which takes four seconds and
700 MB to import). It also needs no Python object per number: floats are copied as they are, varints are decoded as whole columns,
and each image is copied once.

    Example  { Features features = 1; }            Feature { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }
    Features { map<string, Feature> feature = 1; } each list { repeated value = 1; }   (numbers packed or not)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Bytes = bytes | bytearray
Value = list[bytes] | NDArray[np.float32] | NDArray[np.int64]

BYTES, FLOATS, INTS = 1, 2, 3
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIRST, _SECOND = 1 << 3 | _DELIMITED, 2 << 3 | _DELIMITED  # tags of delimited fields
_TEXT = 1 << 10  # bytes; a shorter value, such as an instruction, is often the same at each step
_MAX_VARINT = 10  # bytes of a 64-bit varint


class WireError(ValueError):
    """The bytes are not the message they should be."""


def parse_example(data: Bytes, end: int | None = None) -> dict[str, Value | None]:
    """Parses a serialised `tf.train.Example`: the first `end` bytes of `data`, all of them by default.

    Returns name -> values, None for a feature without values of any kind. Whatever the bytes are, it takes no more memory than a
    small multiple of their number.

    Raises:
        WireError: the bytes are not such a message.

    >>> parse_example(bytes.fromhex("0a0c0a0a0a016112051a030a0103"))
    {'a': array([3])}
    """
    found: dict[str, Value | None] = {}
    view = memoryview(data)  # its slices are no copies; but single bytes are read faster from `data`
    for features, a, b in _delimited(data, 0, len(data) if end is None else end):
        for entry, c, d in _delimited(data, a, b) if features == 1 else ():
            if entry == 1:
                name, value = _entry(data, view, c, d)
                try:
                    found[name.decode()] = value
                except UnicodeDecodeError:
                    raise WireError(f"a feature's name is not UTF-8: {name[:40]!r}") from None
    return found


def _entry(data: Bytes, view: memoryview, start: int, end: int) -> tuple[bytes, Value | None]:
    """Parses a map entry to (name, feature)."""
    if end - start > 2 and data[start] == _FIRST and data[start + 1] < 128:  # the form that every writer uses
        at = start + 2 + data[start + 1]
        content = _only(data, at, end, _SECOND)
        if content:
            return bytes(view[start + 2 : at]), _feature(data, view, content, end)
    name, value = b"", None
    for field, a, b in _delimited(data, start, end):
        if field == 1:
            name = bytes(view[a:b])
        elif field == 2:
            value = _feature(data, view, a, b)
    return name, value


def _feature(data: Bytes, view: memoryview, start: int, end: int) -> Value | None:
    value: Value | None = None
    for kind, a, b in _delimited(data, start, end):
        if kind == BYTES:
            value = _byte_strings(data, view, a, b)
        elif kind == FLOATS:
            value = _floats(data, a, b)
        elif kind == INTS:
            value = _ints(data, a, b)
    return value


def _only(data: Bytes, start: int, end: int, tag: int) -> int:
    """Returns where the bytes of a message's only field begin; 0 if it is not one length-delimited field with this tag."""
    if end - start < 2 or data[start] != tag:
        return 0
    length, at = data[start + 1], start + 2
    if length > 127:
        length, at = _varint(data, start + 1, end)
    return at if at + length == end else 0


def _byte_strings(data: Bytes, view: memoryview, start: int, end: int) -> list[bytes]:
    """Returns the images or texts of a feature. They are most of a record's bytes and fields, so there is no call for each."""
    found: list[bytes] = []
    add, limit = found.append, end - 4
    while start <= limit and data[start] == _FIRST:
        length = data[start + 1]
        if length < 128:
            at = start + 2
        elif data[start + 2] < 128:
            length += (data[start + 2] << 7) - 128
            at = start + 3
        elif data[start + 3] < 128:
            length += (data[start + 2] << 7) + (data[start + 3] << 14) - 16512
            at = start + 4
        else:
            break
        stop = at + length
        if stop > end:
            raise WireError(f"a value of {length} bytes where {end - at} are left")
        add(bytes(view[at:stop]))
        if (
            len(found) == 1
            and length < _TEXT
            and view[start:end] == bytes(view[start:stop]) * ((end - start) // (stop - start))
        ):
            return found * ((end - start) // (stop - start))  # the same instruction at each step
        start = stop
    for kind, at, stop in _fields(data, start, end):  # values longer than 2 MB, and unusual ones
        if kind == _DELIMITED:
            add(bytes(view[at:stop]))
    return found


def _floats(data: Bytes, start: int, end: int) -> NDArray[np.float32]:
    packed = _only(data, start, end, _FIRST)
    parts = []
    for kind, a, b in [(_DELIMITED, packed, end)] if packed else _fields(data, start, end):
        if kind not in (_DELIMITED, _FIXED32) or (b - a) % 4:
            raise WireError(f"a float list of {b - a} bytes")
        if b > a:
            parts.append(np.frombuffer(data, "<f4", (b - a) // 4, a))
    if len(parts) == 1:
        return parts[0].copy()  # aligned, writable, and does not keep the record alive
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _ints(data: Bytes, start: int, end: int) -> NDArray[np.int64]:
    packed = _only(data, start, end, _FIRST)
    parts = []
    for kind, a, b in [(_DELIMITED, packed, end)] if packed else _fields(data, start, end):
        if kind not in (_DELIMITED, _VARINT):
            raise WireError("an integer list that contains no varints")
        if b > a:
            parts.append(varints(np.frombuffer(data, np.uint8, b - a, a)))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def varints(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decodes varints: little-endian groups of seven bits, with the high bit set on all but the last byte of a number.

    Raises:
        WireError: the last number is cut off, or one is longer than 64 bits.

    >>> varints(np.array([1, 172, 2], np.uint8))
    array([  1, 300])
    """
    last = raw < 128
    if last.all():
        return raw.astype(np.int64)
    ends = last.nonzero()[0]
    if not last[-1]:
        raise WireError("a number that is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_VARINT:
        raise WireError(f"a number of {lengths.max()} bytes")
    place = np.arange(len(raw)) - np.repeat(starts, lengths)
    groups = (raw & 127).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(groups, starts).view(np.int64)


def _delimited(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (field number, start, end) of a message's length-delimited fields; it skips other fields."""
    while start < end:
        tag = data[start]
        if tag & 0x87 == _DELIMITED and start + 1 < end and data[start + 1] < 128:  # the usual case, without a call
            number, at = tag >> 3, start + 2
            start = at + data[start + 1]
            if start > end:
                raise WireError(f"a field of {start - at} bytes where {end - at} are left")
        else:
            number, kind, at, start = _field(data, start, end)
            if kind != _DELIMITED:
                continue
        yield number, at, start


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (wire type, start, end) of a message's fields with the number 1."""
    while start < end:
        number, kind, start, stop = _field(data, start, end)
        if number == 1:
            yield kind, start, stop
        start = stop


def _field(data: Bytes, start: int, end: int) -> tuple[int, int, int, int]:
    """Returns (field number, wire type, start and end of its bytes) of the field at `start`."""
    tag, start = _varint(data, start, end)
    number, kind = tag >> 3, tag & 7
    if kind == _DELIMITED:
        length, start = _varint(data, start, end)
        stop = start + length
    elif kind == _VARINT:
        stop = _varint(data, start, end)[1]
    elif kind in (_FIXED64, _FIXED32):
        stop = start + (8 if kind == _FIXED64 else 4)
    else:
        raise WireError(f"wire type {kind}")
    if stop > end or not number:
        raise WireError(f"field {number} ends {stop - end} bytes after its message")
    return number, kind, start, stop


def _varint(data: Bytes, start: int, end: int) -> tuple[int, int]:
    """Returns a number, and the position of the byte after it."""
    value = shift = 0
    for byte in data[start : min(start + _MAX_VARINT, end)]:
        start += 1
        if byte < 128:
            return value | byte << shift, start
        value |= (byte & 127) << shift
        shift += 7
    raise WireError("a number that is cut off, or too long")
