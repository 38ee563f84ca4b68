"""Reads features.json of a TFDS dataset: what is stored under which flat name, such as "a/b".

Each sequence that contains a feature adds a level; the steps of an episode are one such level. `decode.py` reads the values from
a record.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypedDict, get_args

import ml_dtypes  # defines np.dtype("bfloat16")
import numpy as np

from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.errors import InputError

TFDS = "tensorflow_datasets.core.features."
TensorEncoding = Literal["none", "bytes", "zlib"]
TENSOR_ENCODINGS: tuple[TensorEncoding, ...] = get_args(TensorEncoding)
FeatureKind = Literal["tensor", "text", "image", "label"]
BYTES = "bytes"
DTYPES = frozenset(
    ["bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
MAX_DEFAULT = 1 << 20  # values of an optional tensor: if it has more, features.json is damaged


class UnsupportedError(InputError):
    """A feature or file format that the raw reader does not cover; `fasttok.episodes.tfds` reads such datasets."""


@dataclass(frozen=True)
class Feature:
    """A leaf of features.json.

    Attributes:
        name: path of dictionary keys, joined by "/".
        shape: shape of one value; () for scalars, images and texts. None in it is an unknown length.
        dtype: numpy name; "bytes" for encoded images, texts and byte strings.
        kind: tensor, text, image or label.
        lengths: lengths of the sequences that contain it, outermost first; None for one that varies. Two or more sequences are
            stored as ragged.
        encoding: "bytes" or "zlib" for tensors that are stored as the bytes of an array, else "none".
        optional: whether a record may lack the value; TFDS's default then replaces it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: FeatureKind
    lengths: tuple[int | None, ...] = ()
    encoding: TensorEncoding = "none"
    optional: bool = False

    @cached_property
    def dynamic(self) -> bool:
        """Whether the shape of each value is stored beside it, because more than one of its lengths is unknown."""
        return self.shape.count(None) > 1

    @cached_property
    def numpy(self) -> np.dtype:
        """The numpy dtype, for numbers."""
        return np.dtype(self.dtype)

    @cached_property
    def default(self) -> Any:
        """What TFDS returns for an optional value that is missing: the lowest value of the dtype, False, or no bytes."""
        if self.dtype == BYTES:
            return b""
        shape = [d or 0 for d in self.shape]
        kind = np.dtype(self.dtype)
        least = False if kind.kind == "b" else np.iinfo(kind).min if kind.kind in "iu" else ml_dtypes.finfo(kind).min
        return np.full(shape, least, kind)[()]


def parse_features(text: str, where: str) -> dict[str, Feature]:
    """Parses features.json to flat name -> Feature. The names of a step's features begin with "steps/".

    Raises:
        UnsupportedError: the raw reader does not cover a feature; the error names it.
        InputError: the text is not a features.json.

    >>> image = {"pythonClassName": TFDS + "image_feature.Image", "image": {}}
    >>> top = {"pythonClassName": TFDS + "features_dict.FeaturesDict", "featuresDict": {"features": {"view": image}}}
    >>> parse_features(json.dumps(top), "features.json")["view"].kind
    'image'
    """
    try:
        leaves: dict[str, Feature] = {}
        _walk(json.loads(text), "", (), leaves)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refuse_pointer(text, where)
        raise InputError(f"{where} is not a features.json of TFDS: {error!r}") from None
    return leaves


class ShapeJson(TypedDict, total=False):
    """A shape: each length as text, "-1" if it is unknown."""

    dimensions: list[str]


class TensorJson(TypedDict, total=False):
    """A tensor, or a bounding box or video that is stored as one.

    Attributes:
        shape: shape of one value.
        dtype: numpy name.
        encoding: how the tensor is stored, see `Feature.encoding`.
        optional: whether the tensor may be missing.
    """

    shape: ShapeJson
    dtype: str
    encoding: str
    optional: bool


class SequenceJson(TypedDict, total=False):
    """A sequence of features.

    Attributes:
        feature: the feature of each element.
        length: length as text, "-1" if it varies.
    """

    feature: "FeatureJson"
    length: str


class DictJson(TypedDict, total=False):
    """A dictionary of features by name."""

    features: "dict[str, FeatureJson]"


class TextJson(TypedDict, total=False):
    """A text. If it has an encoder, it is stored as integers."""

    useEncoder: bool


class TranslationJson(TypedDict, total=False):
    """A text in several languages.

    Attributes:
        languages: names of the languages.
        variableLanguagesPerExample: whether records have different languages.
    """

    languages: list[str]
    variableLanguagesPerExample: bool


class FeatureJson(TypedDict, total=False):
    """A node of features.json: the class that reads it, and one key that says what it is.

    Attributes:
        type: only in files of TFDS's older format.
        pythonClassName: name of the class that reads the node.
        featuresDict: named features.
        sequence: a sequence.
        tensor: numbers or byte strings.
        boundingBox: four numbers.
        text: a text.
        image: an encoded image; its value does not matter here.
        video: a sequence of encoded images.
        classLabel: a label's number; its value does not matter here.
        translation: a text in several languages.
    """

    type: str
    pythonClassName: str
    featuresDict: DictJson
    sequence: SequenceJson
    tensor: TensorJson
    boundingBox: TensorJson
    text: TextJson
    image: object
    video: TensorJson
    classLabel: object
    translation: TranslationJson


def _walk(node: FeatureJson, name: str, lengths: tuple[int | None, ...], leaves: dict[str, Feature]) -> None:
    """Adds the leaves at and below a node to `leaves`."""
    if "type" in node and "pythonClassName" not in node:
        raise UnsupportedError(f"feature {name or '(all)'}: features.json is of TFDS's older kind")
    python_class = str(node["pythonClassName"])
    if not python_class.startswith(TFDS):
        raise UnsupportedError(f"feature {name}: class {python_class} is not TFDS's own")

    def below(key: str) -> str:
        return f"{name}/{key}" if name else key

    if "featuresDict" in node:
        for key, child in node["featuresDict"].get("features", {}).items():
            _walk(child, below(key), lengths, leaves)
    elif "sequence" in node:
        length = int(node["sequence"].get("length", -1))
        _walk(node["sequence"]["feature"], name, (*lengths, length if length >= 0 else None), leaves)
    elif "translation" in node and not node["translation"].get("variableLanguagesPerExample"):
        for language in node["translation"]["languages"]:
            leaves[below(language)] = Feature(below(language), (), BYTES, "text", lengths)
    else:
        leaves[name] = _leaf(node, name, lengths)


def _leaf(node: FeatureJson, name: str, lengths: tuple[int | None, ...]) -> Feature:
    """Returns the Feature of a node that has no nodes below it."""
    if "tensor" in node:
        spec = node["tensor"]
        optional = bool(spec.get("optional")) and not lengths
        leaf = Feature(name, _shape(spec), *_dtype(spec, name), lengths, _encoding(spec, name), optional)
        if math.prod(d or 0 for d in leaf.shape) > MAX_DEFAULT and optional:
            raise UnsupportedError(f"feature {name}: an optional tensor of shape {leaf.shape}")
        return leaf
    if "boundingBox" in node:
        return Feature(name, _shape(node["boundingBox"]), *_dtype(node["boundingBox"], name), lengths)
    if "text" in node and not node["text"].get("useEncoder"):
        return Feature(name, (), BYTES, "text", lengths)
    if "image" in node:
        return Feature(name, (), BYTES, "image", lengths)
    if "video" in node:
        return Feature(name, (), BYTES, "image", (*lengths, _shape(node["video"])[0]))
    if "classLabel" in node:
        return Feature(name, (), "int64", "label", lengths)
    raise UnsupportedError(f"feature {name}: class {node['pythonClassName'].rsplit('.', 1)[-1]}")


def _shape(spec: TensorJson) -> tuple[int | None, ...]:
    return tuple(int(d) if int(d) >= 0 else None for d in spec.get("shape", {}).get("dimensions", []))


def _dtype(spec: TensorJson, name: str) -> tuple[str, FeatureKind]:
    """Returns (dtype, kind) of a tensor."""
    if spec["dtype"] in ("string", "object", "str"):
        return BYTES, "tensor"
    if spec["dtype"] not in DTYPES:
        raise UnsupportedError(f"feature {name}: dtype {spec['dtype']}")
    return str(spec["dtype"]), "tensor"


def _encoding(spec: TensorJson, name: str) -> TensorEncoding:
    asked = str(spec.get("encoding") or "none").lower()
    for encoding in TENSOR_ENCODINGS:
        if encoding == asked and (encoding == "none" or _dtype(spec, name)[0] != BYTES):
            return encoding
    raise UnsupportedError(f"feature {name}: a tensor encoded as {asked}")
