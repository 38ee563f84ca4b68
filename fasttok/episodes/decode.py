"""Decodes a record by features.json: numbers get their dtype and shape, images and texts stay as stored."""

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.features import BYTES, Feature
from fasttok.episodes.wire import Value, WireError, parse_example

INT64 = np.dtype(np.int64)
MAX_TENSOR = 1 << 28  # bytes that a compressed tensor of unknown shape may become

Stored = dict[str, Value | None]


class MismatchError(ValueError):
    """A record that does not match features.json."""


def decode(data: bytes | bytearray, features: dict[str, Feature], length: int | None = None) -> dict[str, Any]:
    """Returns the values of a record by flat name. The record is the first `length` bytes of `data`, all of them by default.

    The value of a feature outside any sequence is a number, an array of the feature's shape, or bytes. In one sequence it is an
    array (T, *shape) or a list of T byte strings. Each further sequence around it makes a list of these.

    Raises:
        MismatchError: the record is not an Example, or a feature is missing or has another type or length than declared.

    >>> number = Feature("a", (1,), "int64", "tensor")
    >>> decode(bytes.fromhex("0a0c0a0a0a016112051a030a0103"), {"a": number})
    {'a': array([3])}
    """
    try:
        stored = parse_example(data, length)
    except WireError as error:
        raise MismatchError(f"not a tf.train.Example: {error}") from None
    try:
        return {name: _value(stored, feature) for name, feature in features.items()}
    except OverflowError as error:  # dims that no array can have
        raise MismatchError(str(error)) from None
    except ValueError as error:
        raise error if isinstance(error, MismatchError) else MismatchError(str(error)) from None


def _value(stored: Stored, feature: Feature) -> Any:
    name = f"{feature.name}/value" if feature.dynamic else feature.name
    if feature.optional and stored.get(name) is None:
        return feature.default
    depth = len(feature.lengths)
    if depth > 1:
        items = _items(stored, feature, f"{name}/ragged_flat_values", (None,))
        for level in reversed(range(depth - 1)):
            lengths = _numbers(stored, f"{name}/ragged_row_lengths_{level}", INT64)
            items = _rows(items, lengths, feature, feature.lengths[level + 1])
    else:
        items = _items(stored, feature, name, feature.lengths)
        if not depth:
            return items
    if feature.lengths[0] not in (None, len(items)):
        raise MismatchError(f"feature {feature.name} has {len(items)} elements, expected {feature.lengths[0]}")
    return items


def _items(stored: Stored, feature: Feature, name: str, outer: tuple[int | None, ...]) -> Any:
    """Returns the value under a name if `outer` is (), else an array or list of `outer[0]` values (any number for None)."""
    full = (*outer, *feature.shape)
    if feature.encoding == "none" and feature.dtype != BYTES:
        flat = _numbers(stored, name, feature.numpy, missing=None in full)
        return flat.reshape(_fill(full, len(flat), name))[()]
    texts = stored.get(name)
    if texts is None and outer == (None,):
        texts = []
    if not isinstance(texts, list):
        raise _wrong(stored, name, "bytes")
    if feature.encoding != "none":
        if not outer and len(texts) != 1:
            raise MismatchError(f"feature {name} has {len(texts)} values, expected 1")
        arrays = [
            _array(text, feature, shape)
            for text, shape in zip(texts, _shapes(stored, feature, len(texts)), strict=True)
        ]
        return _stack(arrays, feature) if outer else arrays[0]
    if not feature.shape:
        _fill(full, len(texts), name)
        return texts if outer else texts[0]
    table = np.empty(len(texts), object)
    table[:] = texts
    return table.reshape(_fill(full, len(texts), name))


def _numbers(stored: Stored, name: str, dtype: np.dtype, missing: bool = True) -> NDArray[Any]:
    """Returns the numbers under a name, flat and in their dtype. If there are none and they may be `missing`, it is empty."""
    flat = stored.get(name)
    if flat is None and missing:
        return np.zeros(0, dtype)
    integers = dtype.kind in "iub"
    if not isinstance(flat, np.ndarray) or (flat.dtype == np.int64) != integers:
        raise _wrong(stored, name, f"{'int64' if integers else 'float'}s for {dtype}")
    return flat.view(np.uint64) if dtype == np.uint64 else flat.astype(dtype, copy=False)


def _wrong(stored: Stored, name: str, expected: str) -> MismatchError:
    if name not in stored:
        return MismatchError(f"feature {name} is missing; has features.json changed?")
    value = stored[name]
    kind = "nothing" if value is None else "bytes" if isinstance(value, list) else f"{value.dtype}s"
    return MismatchError(f"feature {name} contains {kind}, expected {expected}")


def _fill(shape: tuple[int | None, ...], count: int, name: str) -> tuple[int, ...]:
    """Returns the shape, with its unknown length computed from the number of values."""
    known = 1
    for length in shape:
        known *= 1 if length is None else length
    if None in shape:
        if known == 0 or count % known:
            raise MismatchError(f"feature {name} has {count} values, expected a multiple of {known} for shape {shape}")
        return tuple(count // known if d is None else d for d in shape)
    if count != known:
        raise MismatchError(f"feature {name} has {count} values, expected {known} for shape {shape}")
    return shape  # type: ignore[return-value]


def _rows(items: Any, lengths: NDArray[Any], feature: Feature, expected: int | None) -> list[Any]:
    """Cuts items into rows."""
    if len(lengths) and (lengths.min() < 0 or lengths.max() > len(items)):
        raise MismatchError(
            f"feature {feature.name}: row lengths from {lengths.min()} to {lengths.max()}, {len(items)} items"
        )
    if lengths.sum() != len(items) or (expected is not None and (lengths != expected).any()):
        raise MismatchError(f"feature {feature.name}: rows of {lengths.sum()} items, there are {len(items)}")
    ends = lengths.cumsum().tolist()
    return [items[end - n : end] for end, n in zip(ends, lengths.tolist(), strict=True)]


def _shapes(stored: Stored, feature: Feature, count: int) -> list[tuple[int | None, ...]]:
    """Returns the shape of each encoded tensor, which is declared or stored beside the tensor."""
    if not feature.dynamic:
        return [feature.shape] * count
    name = f"{feature.name}/shape" + ("/ragged_flat_values" if len(feature.lengths) > 1 else "")
    rank = len(feature.shape)
    table = _numbers(stored, name, INT64)
    if len(table) != rank * count or (table < 0).any():
        raise MismatchError(f"feature {name} has {len(table)} numbers, expected {rank} for each of {count} tensors")
    return [tuple(row) for row in table.reshape(count, rank).tolist()]


def _array(data: bytes, feature: Feature, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Decodes a tensor that is stored as the bytes of an array."""
    dtype = feature.numpy
    if feature.encoding == "zlib":
        data = _inflate(data, feature, shape, dtype.itemsize)
    if len(data) % dtype.itemsize:
        raise MismatchError(
            f"feature {feature.name} has {len(data)} bytes, no multiple of {dtype.itemsize} for {dtype}"
        )
    if dtype.kind == "b":
        flat: NDArray[Any] = np.frombuffer(data, np.uint8) != 0
    else:
        flat = np.frombuffer(data, dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype).astype(dtype)
    return flat.reshape(_fill(shape, len(flat), feature.name))


def _inflate(data: bytes, feature: Feature, shape: tuple[int | None, ...], itemsize: int) -> bytes:
    most = MAX_TENSOR
    if None not in shape:
        most = min(most, math.prod(d or 0 for d in shape) * itemsize)
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise MismatchError(f"feature {feature.name}: {error}") from None
    if len(raw) > most or not unpacker.eof:
        raise MismatchError(
            f"feature {feature.name}: a compressed tensor that is cut off, or of more than {most} bytes"
        )
    return raw


def _stack(arrays: list[NDArray[Any]], feature: Feature) -> Any:
    """Returns an array (T, *shape) if all shapes are equal, else the list."""
    if not arrays:
        return np.zeros((0, *[d or 0 for d in feature.shape]), feature.dtype)
    return np.stack(arrays) if len({a.shape for a in arrays}) == 1 else arrays
