"""Packs and unpacks the messages of openpi's websocket protocol: msgpack, in which a numpy array is a map with byte keys.

The bytes are those that openpi-client 0.1.2 packs (its `msgpack_numpy.py`, after the package msgpack-numpy). Frames come from a
network, so `unpack` trusts nothing: it accepts only numbers, texts, bytes, lists, maps and arrays of numbers, and it checks
every length, dtype and shape before it allocates memory. Arrays are views of the frame; they are not copied.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, require

MEGABYTE = 2**20
MOST_BYTES = 64 * MEGABYTE  # per frame
MOST_VALUES = 100_000  # per frame: entries of lists and maps at all depths
DEEPEST = 16  # lists and maps inside each other
MOST_DIMENSIONS = 8  # per array
LONGEST_KEY = 1000  # characters; error messages show keys, so keys must not be huge
SHOWN = 60  # characters of a key or a value that a message shows

Packed: TypeAlias = (
    "bool | int | float | str | bytes | NDArray[Any] | np.generic | Sequence[Packed] | Mapping[str, Packed] | None"
)
"""What a frame can contain."""

SCALARS = ("bool", *(f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)), "f2", "f4", "f8")


def _dtypes() -> dict[str, np.dtype[Any]]:
    """Returns name -> dtype: `<f4`, `>f4`, `|u1`, and the names of numpy, such as `uint8`. No other dtype is accepted."""
    found: dict[str, np.dtype[Any]] = {}
    for scalar in SCALARS:
        dtype: np.dtype[Any] = np.dtype(scalar)
        code = f"{dtype.kind}{dtype.itemsize}"
        found |= {dtype.name: dtype, code: dtype}
        found |= {order + code: np.dtype(order + code) for order in ("<>=" if dtype.itemsize > 1 else "|")}
    return found


DTYPES = _dtypes()
ALLOWED = "bool, int8 to int64, uint8 to uint64, float16 to float64"

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"  # the key that marks a map as an array or as a scalar
FIELDS = {ARRAY: {ARRAY, b"data", b"dtype", b"shape"}, SCALAR: {SCALAR, b"data", b"dtype"}}

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xCA: ">f", 0xCB: ">d"} | {0xCC + place: f">{code}" for place, code in enumerate("BHIQbhiq")}
NUMBERS_READ = {tag: struct.Struct(form) for tag, form in NUMBERS.items()}
# First byte -> (kind, bytes of the length that follow)
SIZED = {
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4),
    0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip


def pack(value: Packed) -> bytes:
    """Packs a value into a frame.

    Args:
        value: numbers, texts, bytes, lists, maps with text keys, and numpy arrays and scalars of numbers.

    Raises:
        InputError: the value contains something of another type, and the message names its place; or msgpack is not installed.

    >>> unpack(pack({"state": np.arange(3.0), "prompt": "push"}))["state"]
    array([0., 1., 2.])
    """
    msgpack = require("msgpack", "client", "fasttok.packed_arrays")
    plain = _plain(value, (), DEEPEST)
    try:
        return bytes(msgpack.packb(plain))
    except (OverflowError, UnicodeEncodeError, ValueError) as error:
        raise InputError(f"a message cannot be packed: {error}; expected integers of 64 bits, and valid text") from None


def unpack(frame: bytes | bytearray | memoryview, *, max_bytes: int = MOST_BYTES) -> Packed:
    r"""Returns what a frame contains (`Packed`).

    Args:
        frame: the bytes. Arrays are read-only views of them; an array that is not aligned for its dtype is copied.
        max_bytes: the longest frame to read.

    Raises:
        InputError: the bytes are not a frame, are cut or damaged, are too long or nested too deep, or contain a dtype or a type
            that is not allowed.

    >>> unpack(b"\x81\xa1k\x93\x01\x02\x03")
    {'k': [1, 2, 3]}
    """
    if len(frame) > max_bytes:
        raise InputError(f"the message has {len(frame)} bytes; expected at most {max_bytes}")
    reader = _FrameReader(memoryview(frame).toreadonly())
    value = reader.value((), DEEPEST)
    if reader.at < len(frame):
        raise InputError(
            f"the message ends after {reader.at} bytes, but {len(frame)} came; expected one message per frame"
        )
    return value


def unpack_map(frame: bytes | bytearray | memoryview, *, max_bytes: int = MOST_BYTES) -> dict[str, Packed]:
    """Unpacks a frame that must be a map with text keys, as all messages of the protocol are.

    Raises:
        InputError: as `unpack`, or the frame contains something else.
    """
    value = unpack(frame, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise InputError(f"the message is {_kind(value)}; expected a map from names to values")
    return value


Field: TypeAlias = "Packed | memoryview"  # a value of a map with byte keys
Where: TypeAlias = tuple[str | int, ...]  # keys and positions in lists that lead to a value, for messages


def _plain(value: object, where: Where, deeper: int) -> object:
    """Returns a value with its arrays as maps, as msgpack packs it."""
    if value is None or isinstance(value, bool | int | float | str | bytes | bytearray | memoryview):
        return value
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.str not in DTYPES:
            _refuse(where, f"an array of dtype {value.dtype}", f"{ALLOWED}; send text as str")
        if isinstance(value, np.generic):
            return {SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
        array = np.asarray(value)
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""
        return {ARRAY: True, b"data": data, b"dtype": array.dtype.str, b"shape": array.shape}
    if not isinstance(value, list | tuple | Mapping):
        _refuse(where, f"of type {type(value).__name__}", "numbers, texts, bytes, lists, maps and numpy arrays")
    if not deeper:
        _refuse(where, "nested too deep", f"at most {DEEPEST} lists and maps inside each other")
    if not isinstance(value, Mapping):
        return [_plain(one, (*where, place), deeper - 1) for place, one in enumerate(value)]
    for key in value:
        if not isinstance(key, str):
            _refuse(where, f"a map with the key {_short(key)}", "keys that are texts")
    return {key: _plain(one, (*where, key), deeper - 1) for key, one in value.items()}


class _FrameReader:
    """Reads a frame from beginning to end.

    Attributes:
        frame: bytes of the frame.
        at: place of the byte at which the next value begins.
        left: how many more values the frame may contain.
    """

    def __init__(self, frame: memoryview) -> None:
        self.frame = frame
        self.at = 0
        self.left = MOST_VALUES

    def value(self, where: Where, deeper: int) -> Packed:
        """Reads the next value."""
        tag = self._take(1, where)[0]
        if tag < 0x80 or tag >= 0xE0:  # small integers
            return tag if tag < 0x80 else tag - 0x100
        if tag in CONSTANTS:
            return CONSTANTS[tag]
        if tag in NUMBERS_READ:
            form = NUMBERS_READ[tag]
            number: int | float = form.unpack(self._take(form.size, where))[0]
            return number
        kind, size = self._head(tag, where)
        if kind == "bytes":
            return bytes(self._take(size, where))
        if kind == "text":
            return self._text(size, where)
        if not deeper:
            _refuse(where, "nested too deep", f"at most {DEEPEST} lists and maps inside each other")
        self._count(size, where)
        if kind == "list":
            return [self.value((*where, place), deeper - 1) for place in range(size)]
        if size and self._next_is_bytes():
            return self._special(size, where)
        return self._map(size, where, deeper - 1)

    def _map(self, size: int, where: Where, deeper: int) -> dict[str, Packed]:
        """Reads a map with text keys."""
        found: dict[str, Packed] = {}
        for _ in range(size):
            key = self.value(where, 0)
            if not isinstance(key, str):
                _refuse(where, f"a map with the key {_short(key)}", "keys that are texts")
            if len(key) > LONGEST_KEY:
                _refuse(where, f"a map with a key of {len(key):,} characters", f"at most {LONGEST_KEY:,}")
            if key in found:
                _refuse(where, f"a map with the key {_short(key)} twice", "each key once")
            found[key] = self.value((*where, key), deeper)
        return found

    def _special(self, size: int, where: Where) -> NDArray[Any] | np.generic:
        """Reads a map with byte keys: an array or a scalar of numpy."""
        found: dict[bytes, Field] = {}
        for _ in range(size):
            key = self.value(where, 0) if self._next_is_bytes() else None
            if not isinstance(key, bytes) or key in found or len(found) == len(FIELDS[ARRAY]):
                _refuse(where, "a map with byte keys that is no array", _fields(ARRAY))
            if key == b"data" and self._next_is_bytes():
                _, length = self._head(self._take(1, where)[0], where)
                found[key] = self._take(length, where)
            else:
                found[key] = self.value(where, 1)
        mark = ARRAY if ARRAY in found else SCALAR
        if found.keys() != FIELDS[mark] or found[mark] is not True:
            _refuse(where, f"a map with the byte keys {_short(sorted(found))}", _fields(mark))
        name = found[b"dtype"]
        dtype = DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            _refuse(where, f"an array of dtype {_short(name)}", ALLOWED)
        return (self._array if mark == ARRAY else self._scalar)(found, dtype, where)

    def _array(self, found: Mapping[bytes, Field], dtype: np.dtype[Any], where: Where) -> NDArray[Any]:
        """Makes an array, which is a view of the frame."""
        data, shape = found[b"data"], found[b"shape"]
        if not isinstance(data, memoryview):
            _refuse(where, f"an array whose data is {_kind(data)}", "bytes")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            _refuse(where, f"an array of shape {_short(shape)}", "a list of integers of 0 or more")
        if len(shape) > MOST_DIMENSIONS:
            _refuse(where, f"an array of {len(shape)} dimensions", f"at most {MOST_DIMENSIONS}")
        if math.prod(size or 1 for size in shape) > MOST_BYTES:  # an empty array must not have huge sides, either
            _refuse(where, f"an array of shape {_short(shape)}", f"at most {MOST_BYTES} elements")
        needed = math.prod(shape) * dtype.itemsize
        if needed != len(data):
            _refuse(where, f"{len(data)} bytes", f"{needed} for the shape {tuple(shape)} of {dtype}")
        array: NDArray[Any] = np.ndarray(shape, dtype, data)
        if not array.flags.aligned:
            array = array.copy()
            array.flags.writeable = False
        return array

    def _scalar(self, found: Mapping[bytes, Field], dtype: np.dtype[Any], where: Where) -> np.generic:
        """Makes a scalar of numpy."""
        data = found[b"data"]
        right = {"b": (bool,), "f": (float, int)}.get(dtype.kind, (int,))
        if type(data) not in right:
            _refuse(where, f"a {dtype} whose data is {_kind(data)}", " or ".join(one.__name__ for one in right))
        if isinstance(data, int) and dtype.kind in "ui" and not np.iinfo(dtype).min <= data <= np.iinfo(dtype).max:
            _refuse(where, f"{data} as {dtype}", f"{np.iinfo(dtype).min} to {np.iinfo(dtype).max}")
        with np.errstate(over="ignore"):
            scalar: np.generic = dtype.type(data)
        return scalar

    def _next_is_bytes(self) -> bool:
        """Whether the next value is bytes."""
        return self.at < len(self.frame) and self.frame[self.at] in (0xC4, 0xC5, 0xC6)

    def _head(self, tag: int, where: Where) -> tuple[str, int]:
        """Returns the kind and the size of the value that begins with the byte `tag`."""
        if tag < 0xC0:
            return ("map", tag & 15) if tag < 0x90 else ("list", tag & 15) if tag < 0xA0 else ("text", tag & 31)
        if tag not in SIZED:
            _refuse(where, f"a value of the type 0x{tag:02x}", "no extension types of msgpack (timestamps are one)")
        kind, width = SIZED[tag]
        return kind, int.from_bytes(self._take(width, where), "big")

    def _count(self, size: int, where: Where) -> None:
        """Refuses a list or a map that says it has more values than can follow, before they are read."""
        self.left -= size
        if size > len(self.frame) - self.at:
            self._cut(where)
        if self.left < 0:
            _refuse(where, f"{size} values", f"at most {MOST_VALUES} in a message; send numbers as an array")

    def _text(self, size: int, where: Where) -> str:
        """Reads a text."""
        try:
            return str(self._take(size, where), "utf-8")
        except UnicodeDecodeError as error:
            _refuse(where, f"text that is not UTF-8 ({error.reason})", "UTF-8; send bytes as msgpack's bin")

    def _take(self, size: int, where: Where) -> memoryview:
        """Takes the next bytes."""
        begin, self.at = self.at, self.at + size
        if self.at > len(self.frame):
            self._cut(where)
        return self.frame[begin : self.at]

    def _cut(self, where: Where) -> NoReturn:
        _refuse(where, f"cut: the message has only {len(self.frame)} bytes", "the whole message in one binary frame")


def _refuse(where: Where, got: str, expected: str) -> NoReturn:
    """Raises an InputError that names the place of what is wrong."""
    place = "message" + "".join(f"[{_short(key)}]" for key in where)
    raise InputError(f"{place} is {got}; expected {expected}")


def _fields(mark: bytes) -> str:
    names = ", ".join(repr(name) for name in sorted(FIELDS[mark]))
    return f"an array as openpi-client packs it, a map of {names}"


def _short(value: object) -> str:
    """Returns a value as text for a message, cut if it is long."""
    text = repr(value[:SHOWN] if isinstance(value, str | bytes | list) else value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _kind(value: object) -> str:
    """Says what a value is, for a message."""
    names = {dict: "a map", list: "a list", str: "a text", bytes: "bytes", memoryview: "bytes", type(None): "nothing"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
