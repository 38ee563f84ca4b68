"""Checks the values of a robot's request: images and numbers, in the layouts and types that robots send. Imports no JAX.

The values come from outside, so everything is checked. An error names the key, what it contains and what was expected.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import MAX_PIXELS
from fasttok.errors import InputError

Value: TypeAlias = "NDArray[Any] | np.generic | str | bytes | float | Sequence[Value] | Mapping[str, Value] | None"
Request = Mapping[str, Value]
"""A robot's request: arrays, texts and numbers by key, and mappings of them."""
PICTURE = "an RGB image (h, w, 3) or (3, h, w), uint8 or float in [0, 1], or the bytes of a JPEG, PNG or WebP"
OVERSHOOT = 1e-3  # how far float images may be outside [0, 1], as after resizing with a cubic filter
DEEPEST = 8  # levels of mappings in mappings


def found(request: Request, key: str) -> Value:
    """Returns the value that a request has under a key; None if there is none.

    A key with slashes is first looked up as it is, because openpi's DROID and LIBERO clients send such keys. Then it is looked up
    as a path through mappings, which openpi's ALOHA clients send.

    >>> found({"observation/image": 1}, "observation/image"), found({"images": {"cam_high": 2}}, "images/cam_high")
    (1, 2)
    >>> found({"images": 3}, "images/cam_high") is None
    True
    """
    if key in request:
        return request[key]
    at = key.find("/")
    while at > 0:
        inner = request.get(key[:at])
        if isinstance(inner, Mapping):
            value = found(inner, key[at + 1 :])
            if value is not None:
                return value
        at = key.find("/", at + 1)
    return None


def leaves(request: Request, before: str = "", depth: int = 0) -> Iterator[tuple[str, Value]]:
    """Yields every value of a request that is not a mapping, with its path.

    >>> list(leaves({"images": {"cam_high": 2}, "prompt": "go"}))
    [('images/cam_high', 2), ('prompt', 'go')]
    """
    for key, value in request.items():
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from leaves(value, f"{before}{key}/", depth + 1)
        else:
            yield f"{before}{key}", value


def is_picture(value: object) -> bool:
    """Returns whether a value is probably meant as an image."""
    if isinstance(value, bytes):
        return value.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF"))
    return isinstance(value, np.ndarray) and value.ndim == 3


def picture(value: object, key: str) -> NDArray[np.uint8] | bytes:
    """Returns an image of a request as pixels (h, w, 3) uint8; the bytes of an encoded image do not change.

    Float images are multiplied by 255 and cut to whole numbers, as openpi-client's `convert_to_uint8` does. For an image that was
    divided by 255, this gives back exactly its pixels.

    Args:
        value: (h, w, 3) or (3, h, w), uint8 or float in [0, 1]; or the bytes of an encoded image.
        key: key of the value, for messages.

    Raises:
        InputError: the value is not such an image.

    >>> picture(np.ones((3, 4, 5), np.float32), "image").shape
    (4, 5, 3)
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, np.ndarray):
        raise InputError(f"{key} is {_shown(value)}; expected {PICTURE}")
    if value.ndim != 3 or not value.size or 3 not in (value.shape[0], value.shape[2]):
        hint = ""
        if value.ndim == 4 and value.shape[0] == 1:
            hint = ". Send one image, without an axis for a batch"
        elif value.ndim == 3 and 4 in (value.shape[0], value.shape[2]):
            hint = ". Leave out the alpha channel"
        raise InputError(f"{key} is {_shown(value)}; expected {PICTURE}{hint}")
    if value.shape[2] != 3:
        value = value.transpose(1, 2, 0)
    if value.shape[0] * value.shape[1] > MAX_PIXELS:
        raise InputError(f"{key} is {_shown(value)}; expected at most {MAX_PIXELS:,} pixels")
    if value.dtype == np.uint8:
        return np.ascontiguousarray(value)
    if value.dtype.kind != "f":
        raise InputError(f"{key} is {_shown(value)}; expected {PICTURE}")
    low, high = float(value.min()), float(value.max())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise InputError(
            f"{key} has floats from {low:g} to {high:g}; expected floats in [0, 1], or uint8 for values from 0 to 255"
        )
    return np.ascontiguousarray((255 * value.clip(0, 1)).astype(np.uint8))


def numbers(value: object, key: str, length: int | None) -> NDArray[Any]:
    """Returns a part of a state, (n,); a single number becomes an array of length 1.

    Args:
        value: an array or a list of one dimension, or one number.
        key: key of the value, for messages.
        length: expected number of numbers; None for any.

    Raises:
        InputError: the value is something else, or one of the numbers is not finite.

    >>> numbers(np.float64(0.5), "gripper", 1)
    array([0.5])
    """
    count, many = ("", "s") if length is None else (f"{length} ", "" if length == 1 else "s")
    expected = f"{count}number{many}"
    if not isinstance(value, np.ndarray | np.generic | list | tuple | int | float):
        raise InputError(f"{key} is {_shown(value)}; expected {expected}")
    if isinstance(value, list | tuple):
        for one in value:  # before NumPy makes an array: it would make all texts as long as the longest
            if not (isinstance(one, int | float | np.generic) or (isinstance(one, np.ndarray) and one.ndim == 0)):
                inner = "None" if one is None else _shown(one)
                raise InputError(f"{key} is a list with {inner} in it; expected {expected}, all in one list")
    array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or array.dtype.kind not in "fiub" or (length is not None and len(array) != length):
        raise InputError(f"{key} is {_shown(array)}; expected {expected}")
    if not np.isfinite(array).all():
        raise InputError(f"{key} is {array[:20].tolist()}; expected {count}finite number{many}")
    return array


def _shown(value: object) -> str:
    """Describes a value without its contents, which may be large."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "missing" if value is None else f"a {type(value).__name__}"
