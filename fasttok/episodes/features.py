"""features.json of a TFDS dataset as flat specs: what is stored under which name, as TFDS flattens it to "a/b".

Every sequence a feature lies in adds a level; the steps of an episode are one such level. How a spec is read from a
record is in `decode.py`.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes  # np.dtype("bfloat16") is its
import numpy as np

from fasttok.errors import InputError

TFDS = "tensorflow_datasets.core.features."
ENCODINGS = ("none", "bytes", "zlib")
BYTES = "bytes"
DTYPES = frozenset(
    ["bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
MAX_DEFAULT = 1 << 20  # values of an optional tensor: a larger one is no default but a damaged features.json


class UnsupportedError(InputError):
    """A feature or file format that the raw reader does not cover; `fasttok.episodes.tfds` reads such datasets."""


@dataclass(frozen=True)
class Feature:
    """A leaf of features.json.

    Attributes:
        name: path of dictionary keys, joined by "/".
        shape: of one value; () for scalars, images and texts, None for an unknown length.
        dtype: numpy name; "bytes" for encoded images, texts and byte strings.
        kind: tensor, text, image or label.
        lengths: of the sequences it lies in, outermost first, None where they vary. Two or more are stored as ragged.
        encoding: none; or bytes or zlib for tensors stored as the bytes of an array.
        optional: TFDS's default stands for a value that is not there.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: str
    lengths: tuple[int | None, ...] = ()
    encoding: str = "none"
    optional: bool = False

    @cached_property
    def dynamic(self) -> bool:
        """Whether each value's shape is stored beside it."""
        return self.shape.count(None) > 1

    @cached_property
    def numpy(self) -> np.dtype:
        """The dtype of numbers."""
        return np.dtype(self.dtype)

    @cached_property
    def default(self) -> Any:
        """What TFDS gives for an optional value that is not there: the dtype's lowest, False, or no bytes."""
        if self.dtype == BYTES:
            return b""
        shape = [d or 0 for d in self.shape]
        kind = np.dtype(self.dtype)
        least = False if kind.kind == "b" else np.iinfo(kind).min if kind.kind in "iu" else ml_dtypes.finfo(kind).min
        return np.full(shape, least, kind)[()]


def parse_features(text: str, where: str) -> dict[str, Feature]:
    """Flat name -> Feature; features of a step start with "steps/".

    Raises:
        UnsupportedError: a feature the raw reader does not cover, by name.
        InputError: not a features.json.
    """
    try:
        found: dict[str, Feature] = {}
        _walk(json.loads(text), "", (), found)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{where} is not a features.json of TFDS: {error!r}") from None
    return found


def _walk(node: dict[str, Any], name: str, lengths: tuple[int | None, ...], found: dict[str, Feature]) -> None:
    if "type" in node and "pythonClassName" not in node:
        raise UnsupportedError(f"feature {name or '(all)'}: features.json is of TFDS's older kind")
    python_class = str(node["pythonClassName"])
    if not python_class.startswith(TFDS):
        raise UnsupportedError(f"feature {name}: class {python_class} is not TFDS's own")

    def leaf(shape: tuple[int | None, ...], dtype: str, kind: str, **more: Any) -> None:
        found[name] = Feature(name, shape, dtype, kind, lengths, **more)

    def below(key: str) -> str:
        return f"{name}/{key}" if name else key

    if "featuresDict" in node:
        for key, child in node["featuresDict"].get("features", {}).items():
            _walk(child, below(key), lengths, found)
    elif "sequence" in node:
        length = int(node["sequence"].get("length", -1))
        _walk(node["sequence"]["feature"], name, (*lengths, length if length >= 0 else None), found)
    elif "tensor" in node:
        spec = node["tensor"]
        optional = bool(spec.get("optional")) and not lengths
        leaf(_shape(spec), *_dtype(spec, name), encoding=_encoding(spec, name), optional=optional)
        if math.prod(d or 0 for d in found[name].shape) > MAX_DEFAULT and optional:
            raise UnsupportedError(f"feature {name}: an optional tensor of shape {found[name].shape}")
    elif "boundingBox" in node:
        leaf(_shape(node["boundingBox"]), *_dtype(node["boundingBox"], name))
    elif "text" in node and not node["text"].get("useEncoder"):
        leaf((), BYTES, "text")
    elif "image" in node:
        leaf((), BYTES, "image")
    elif "video" in node:
        lengths = (*lengths, _shape(node["video"])[0])
        leaf((), BYTES, "image")
    elif "classLabel" in node:
        leaf((), "int64", "label")
    elif "translation" in node and not node["translation"].get("variableLanguagesPerExample"):
        for language in node["translation"]["languages"]:
            found[below(language)] = Feature(below(language), (), BYTES, "text", lengths)
    else:
        raise UnsupportedError(f"feature {name}: class {python_class.rsplit('.', 1)[-1]}")


def _shape(spec: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(int(d) if int(d) >= 0 else None for d in spec.get("shape", {}).get("dimensions", []))


def _dtype(spec: dict[str, Any], name: str) -> tuple[str, str]:
    """(dtype, kind) of a tensor."""
    if spec["dtype"] in ("string", "object", "str"):
        return BYTES, "tensor"
    if spec["dtype"] not in DTYPES:
        raise UnsupportedError(f"feature {name}: dtype {spec['dtype']}")
    return str(spec["dtype"]), "tensor"


def _encoding(spec: dict[str, Any], name: str) -> str:
    encoding = str(spec.get("encoding") or "none").lower()
    if encoding not in ENCODINGS or (encoding != "none" and _dtype(spec, name)[0] == BYTES):
        raise UnsupportedError(f"feature {name}: a tensor encoded as {encoding}")
    return encoding
