"""features.json of a TFDS dataset as flat specs, and one `tf.train.Example` decoded by them.

TFDS flattens nested features to "a/b" names and the steps of an episode to one list per feature, T times as long.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasttok.episodes.episode import Steps
from fasttok.episodes.example import Example
from fasttok.errors import InputError

STEPS = "steps"


class Unsupported(InputError):
    """A feature that the raw reader does not cover; `pipelines.tfds` reads such datasets through TFDS."""


class Mismatch(ValueError):
    """A record that is not what features.json says."""


@dataclass(frozen=True)
class Feature:
    """A leaf of features.json.

    Attributes:
        shape: of one value; () for scalars, images and texts, None for an unknown length.
        dtype: numpy name; "bytes" for encoded images, texts and byte strings.
        kind: tensor, text, image or label.
        sequence: whether there is one value per step.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: str
    sequence: bool


def parse_features(text: str, where: str) -> dict[str, Feature]:
    """Flat name -> Feature; features of a step start with "steps/".

    Raises:
        Unsupported: a feature class the raw reader does not cover, by name.
        InputError: not a features.json.
    """
    try:
        found: dict[str, Feature] = {}
        _walk(json.loads(text), "", False, found)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where} is not a features.json of TFDS: {error!r}") from None
    return found


def _walk(node: dict[str, Any], name: str, sequence: bool, found: dict[str, Feature]) -> None:
    kind = node["pythonClassName"].rsplit(".", 1)[-1]
    if "featuresDict" in node:
        for key, child in node["featuresDict"]["features"].items():
            _walk(child, f"{name}/{key}" if name else key, sequence, found)
    elif "sequence" in node:
        if sequence:
            raise Unsupported(f"feature {name}: a {kind} inside a sequence (ragged)")
        _walk(node["sequence"]["feature"], name, True, found)
    elif kind in ("Tensor", "Scalar"):
        spec = node["tensor"]
        if spec.get("encoding", "none") != "none":
            raise Unsupported(f"feature {name}: a tensor encoded as {spec['encoding']}")
        shape = tuple(int(d) if int(d) >= 0 else None for d in spec.get("shape", {}).get("dimensions", []))
        if sum(d is None for d in shape) > (0 if sequence else 1):
            raise Unsupported(f"feature {name}: shape {shape}")
        dtype = "bytes" if spec["dtype"] in ("string", "object", "str") else spec["dtype"]
        if dtype != "bytes":
            try:
                np.dtype(dtype)
            except TypeError:
                raise Unsupported(f"feature {name}: dtype {dtype}") from None
        found[name] = Feature(name, shape, dtype, "tensor", sequence)
    elif kind == "Text":
        found[name] = Feature(name, (), "bytes", "text", sequence)
    elif kind == "Image":
        found[name] = Feature(name, (), "bytes", "image", sequence)
    elif kind == "ClassLabel":
        found[name] = Feature(name, (), "int64", "label", sequence)
    else:
        raise Unsupported(f"feature {name}: class {kind}")


def decode(data: bytes, features: dict[str, Feature]) -> tuple[Steps, dict[str, Any]]:
    """A record's steps (flat names below steps/) and episode metadata, values as stored.

    Raises:
        Mismatch: not an Example, or a feature is missing, of another type or of another length than declared.
    """
    try:
        stored = Example.FromString(data).features.feature
    except Exception:  # protobuf's DecodeError lives in different places in different versions
        raise Mismatch("not a tf.train.Example") from None
    steps: Steps = {}
    metadata: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    for name, feature in features.items():
        value = _value(stored, feature)
        if name.startswith(STEPS + "/"):
            short = name[len(STEPS) + 1 :]
            steps[short] = value
            lengths[short] = len(value)
        else:
            metadata[name] = value
    if len(set(lengths.values())) > 1:
        raise Mismatch(f"steps of different lengths: {lengths}")
    return steps, metadata


def _value(stored: Any, feature: Feature) -> Any:
    """One feature: an array (T, *shape) or a list of bytes for sequences, else one value."""
    if feature.name not in stored:
        raise Mismatch(f"feature {feature.name} is missing; has features.json changed?")
    value = stored[feature.name]
    kind = value.WhichOneof("kind")
    if feature.dtype == "bytes":
        if kind != "bytes_list":
            raise Mismatch(f"feature {feature.name} holds {kind}, expected bytes_list")
        items = list(value.bytes_list.value)
        if feature.shape:
            return np.array(items, object).reshape(_full_shape(len(items), feature))
        return items if feature.sequence else _one(items, feature)
    dtype = np.dtype(feature.dtype)
    expected = "float_list" if dtype.kind == "f" else "int64_list"
    if kind != expected:
        raise Mismatch(f"feature {feature.name} holds {kind}, expected {expected} for {feature.dtype}")
    raw = value.float_list.value if expected == "float_list" else value.int64_list.value
    flat = np.array(raw, np.float32 if expected == "float_list" else np.int64)
    flat = flat.view(np.uint64) if dtype == np.uint64 else flat.astype(dtype)
    if not feature.shape and not feature.sequence:
        return _one(flat, feature)
    return flat.reshape(_full_shape(len(flat), feature))


def _full_shape(count: int, feature: Feature) -> tuple[int, ...]:
    known = int(np.prod([d for d in feature.shape if d is not None], dtype=np.int64))
    shape = ((None, *feature.shape) if feature.sequence else feature.shape)  # fmt: skip
    if None in shape:
        if known == 0 or count % known:
            raise Mismatch(
                f"feature {feature.name} has {count} values, expected a multiple of {known} for shape {shape}"
            )
        return tuple(count // known if d is None else d for d in shape)
    if count != known:
        raise Mismatch(f"feature {feature.name} has {count} values, expected {known} for shape {shape}")
    return tuple(d for d in shape if d is not None)


def _one(items: Any, feature: Feature) -> Any:
    if len(items) != 1:
        raise Mismatch(f"feature {feature.name} has {len(items)} values, expected 1")
    return items[0]
