"""Reads and writes transform.json: what turns chunks into coefficients, if it is not the DCT."""

import base64
import binascii
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.channels import Channels
from fasttok.actions.embodiment import Embodiment
from fasttok.codec.spline import Spline, SplineConfig
from fasttok.codec.transform import Learned, Transform
from fasttok.common import json_files
from fasttok.common.choices import FitMode
from fasttok.common.json_files import LEFT_OUT
from fasttok.errors import InputError, unknown_name

TRANSFORM_FILE = "transform.json"
FORMAT_VERSION = 1
ONLY_HERE = """
Only fasttok encodes and decodes with this tokenizer: its chunks go through {what}, not through the DCT that FAST has. The
published processor, transformers, lerobot and openpi would decode other actions from its ids, so the folder has none of the files
by which they would load it. For these, fit with `--transform dct`.
"""


@dataclass(frozen=True)
class LearnedEntry:
    """A `Learned` transform in the file.

    Attributes:
        horizon: as in `Learned`.
        width: as in `Learned`.
        finer: as in `Learned`.
        dead: as in `Learned`.
        order: as in `Learned`.
        basis: base64 of little-endian float64, row by row; "" for the DCT.
        rotations: as `basis`; "" for none.
    """

    horizon: int
    width: int
    finer: float
    dead: float
    order: tuple[int, ...]
    basis: str
    rotations: str


@dataclass(frozen=True)
class SplineEntry:
    """A `Spline` in the file.

    Attributes:
        points: as in `SplineConfig`.
        degree: as in `SplineConfig`.
        bins: as in `Spline`.
        low: as in `Spline`.
        high: as in `Spline`.
    """

    points: int
    degree: int
    bins: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class TransformEntry:
    """A transform in the file: one of the two kinds.

    Attributes:
        learned: a learned transform, or None.
        spline: splines, or None.
    """

    learned: LearnedEntry | None = field(default=None, metadata=LEFT_OUT)
    spline: SplineEntry | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class TransformFile:
    """The content of transform.json.

    Attributes:
        format_version: version of the file's format.
        transforms: transform of each embodiment, "" for chunks without one; embodiments that are not here have the DCT.
    """

    format_version: int
    transforms: dict[str, TransformEntry]


def text(transforms: Mapping[str, Transform]) -> str:
    """Returns the text of the file."""
    return json_files.write(TransformFile(FORMAT_VERSION, {name: _entry(one) for name, one in transforms.items()}))


def digest(transforms: Mapping[str, Transform]) -> str:
    """Returns a digest of what the file says, 16 hex characters."""
    ordered = {name: transforms[name] for name in sorted(transforms)}
    return hashlib.sha256(text(ordered).encode()).hexdigest()[:16]


def read(file: Path, embodiments: Mapping[str, Embodiment], names: Collection[str]) -> dict[str, Transform]:
    """Reads the transforms of a folder.

    Args:
        file: transform.json.
        embodiments: embodiments of the folder.
        names: names of all that the folder has statistics or a description of; "" for chunks without a name.

    Raises:
        InputError: the file is missing or damaged, is for other embodiments, or has a transform that would make errors grow.
    """
    if not file.is_file():
        raise InputError(
            f"{file} is missing, without which no ids can be decoded; copy it from the folder that fasttok saved, or fit again"
        )
    found = json_files.read(TransformFile, file.read_bytes(), str(file), FORMAT_VERSION).transforms
    if not found:
        raise InputError(f"{file} contains no transform; it is damaged, so copy it from the folder that fasttok saved")
    transforms: dict[str, Transform] = {}
    for name, entry in found.items():
        where = f"{file}: {name or 'the data'}"
        if name not in names:
            raise InputError(
                f"{file}: {unknown_name('embodiment', name, names)} in norm_stats.json and processor_config.json beside it; copy "
                "these from the folder that fasttok saved, or fit again. If an older fasttok saved statistics of this one name, "
                f"rename the key 'actions' in norm_stats.json to '{name}/actions'"
            )
        try:
            transforms[name] = _transform(entry)
        except InputError as error:
            raise InputError(
                f"{where}: {error}; copy the file from the folder that fasttok saved, or fit again"
            ) from None
        _check_fits(transforms[name], embodiments.get(name), where)
    return transforms


def mode_of(transforms: Mapping[str, Transform]) -> FitMode | None:
    """Returns `fixed` if there are splines, else None."""
    return "fixed" if any(isinstance(one, Spline) for one in transforms.values()) else None


def only_here(transforms: Mapping[str, Transform]) -> str:
    """Says, for the card, why no other program decodes the ids; "" if all transforms are the DCT."""
    if not transforms:
        return ""
    return ONLY_HERE.format(what="splines" if mode_of(transforms) else "a transform that was learned")


def _check_fits(transform: Transform, what: Embodiment | None, where: str) -> None:
    width = (
        transform.width
        if isinstance(transform, Learned)
        else len(transform.low)
        if isinstance(transform, Spline)
        else 0
    )
    if what is not None and width != (wanted := Channels.of(None, what).count(what.action_dim)):
        raise InputError(
            f"{where} has a transform of {width} dims, but {wanted} are tokenised; copy the file that belongs here"
        )


def _entry(transform: Transform) -> TransformEntry:
    if isinstance(transform, Spline):
        low, high = (tuple(map(float, ends)) for ends in (transform.low, transform.high))
        return TransformEntry(
            spline=SplineEntry(transform.config.points, transform.config.degree, transform.bins, low, high)
        )
    if not isinstance(transform, Learned):
        raise TypeError(f"{type(transform).__name__} is not saved")
    order = tuple(map(int, transform.order))
    arrays = _packed(transform.basis), _packed(transform.rotations)
    return TransformEntry(
        LearnedEntry(transform.horizon, transform.width, transform.finer, transform.dead, order, *arrays)
    )


def _transform(entry: TransformEntry) -> Transform:
    if (entry.learned is None) == (entry.spline is None):
        raise InputError("it is neither a learned transform nor splines")
    if entry.spline is not None:
        s = entry.spline
        return Spline(
            SplineConfig(s.points, s.degree), s.bins, np.array(s.low, np.float64), np.array(s.high, np.float64)
        )
    assert entry.learned is not None
    one = entry.learned
    t, c = one.horizon, one.width
    order = np.array(one.order, np.int64)
    return Learned(t, c, one.finer, one.dead, order, _unpacked(one.basis, (t, t)), _unpacked(one.rotations, (t, c, c)))


def _packed(array: NDArray[np.float64]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode() if array.size else ""


def _unpacked(packed: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns the array, which is empty for ""."""
    if not packed:
        return np.zeros((0,) * len(shape))
    try:
        raw = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"an array is not base64 ({error})") from None
    size = 8 * int(np.prod([int(n) for n in shape], dtype=object))
    if min(shape) < 1 or len(raw) != size:
        raise InputError(f"an array has {len(raw):,} bytes, expected {size:,} for the shape {shape}")
    found: NDArray[Any] = np.frombuffer(raw, "<f8").reshape(shape).astype(np.float64)
    return found
