"""Writes safetensors files one tensor at a time, so that memory stays at the parameters plus one tensor."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypedDict

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from train.exports.export_config import ExportDtype as ExportDtype
from train.weights.layouts import Shape

DTYPES: dict[ExportDtype, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype(np.float32)),
    "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16)),
}
"""Stored dtype -> its name in safetensors, and NumPy's dtype."""


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor to write.

    Attributes:
        name: name in the file.
        shape: shape of the tensor.
        make: returns the values, in any dtype; it is called when the tensor is written.
    """

    name: str
    shape: Shape
    make: Callable[[], NDArray[Any]]


class TensorEntry(TypedDict):
    """A tensor in the header of a safetensors file.

    Attributes:
        dtype: dtype, as safetensors spells it.
        shape: shape of the tensor.
        data_offsets: positions of the first byte and of the byte after the last, counted from the end of the header.
    """

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def metadata(layout: str, described: Mapping[str, Any]) -> dict[str, str]:
    """Returns the metadata of a safetensors file as strings: `described` and `format`.

    `format` is "fasttok" in our own layout. In other layouts it is "pt", which PyTorch's readers expect.
    """
    plain = {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    return {**plain, "format": "fasttok" if layout == "fasttok" else "pt"}


def header(listed: Iterable[TensorToWrite], dtype: ExportDtype, meta: Mapping[str, str]) -> bytes:
    """Returns the beginning of a safetensors file, up to the data (github.com/huggingface/safetensors, "Format")."""
    code, numpy_dtype = DTYPES[dtype]
    entries: dict[str, dict[str, str] | TensorEntry] = {"__metadata__": dict(sorted(meta.items()))}
    end = 0
    for tensor in listed:
        start, end = end, end + math.prod(tensor.shape) * numpy_dtype.itemsize
        entries[tensor.name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write(
    stream: BinaryIO,
    listed: Iterable[TensorToWrite],
    dtype: ExportDtype,
    meta: dict[str, str],
    advance: Callable[..., None] = lambda: None,
) -> None:
    """Writes a safetensors file, one tensor at a time.

    The library's own writer takes all tensors at once, which for another layout would be a second copy of the model.
    """
    listed = list(listed)
    stream.write(header(listed, dtype, meta))
    for tensor in listed:
        array = np.ascontiguousarray(tensor.make(), DTYPES[dtype][1])
        assert array.shape == tensor.shape, tensor.name
        stream.write(array.reshape(-1).view(np.uint8).data)
        advance()
