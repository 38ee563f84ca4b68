"""Safetensors, written a tensor at a time, so that memory stays at the parameters plus one tensor."""

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

"""Stored dtype."""
DTYPES: dict[ExportDtype, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype(np.float32)),
    "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16)),
}


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor of the file.

    Attributes:
        name: in the file.
        shape: of the tensor.
        make: gives its values, any dtype; called when its turn comes.
    """

    name: str
    shape: Shape
    make: Callable[[], NDArray[Any]]


class TensorEntry(TypedDict):
    """A tensor in the header of a safetensors file.

    Attributes:
        dtype: as safetensors spells it.
        shape: of the tensor.
        data_offsets: first byte, and the one after the last, from the end of the header.
    """

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def metadata(layout: str, described: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of a safetensors file, which are strings: `described`, and `format`, ours or "pt" as PyTorch's readers expect."""
    plain = {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    return {**plain, "format": "fasttok" if layout == "fasttok" else "pt"}


def header(listed: Iterable[TensorToWrite], dtype: ExportDtype, meta: Mapping[str, str]) -> bytes:
    """What a safetensors file begins with (github.com/huggingface/safetensors, "Format")."""
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
    """A safetensors file, a tensor at a time.

    The library's own writer takes all tensors at once, which for another layout is a second copy of the model.
    """
    listed = list(listed)
    stream.write(header(listed, dtype, meta))
    for tensor in listed:
        array = np.ascontiguousarray(tensor.make(), DTYPES[dtype][1])
        assert array.shape == tensor.shape, tensor.name
        stream.write(array.reshape(-1).view(np.uint8).data)
        advance()
