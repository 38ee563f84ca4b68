"""Checks the observations of a running robot, and gives them the form that training had: images as in the shards, raw states."""

import io
import logging
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.images import UndecodableError, decoded, inner_size, opened, resized, shown_size
from fasttok.errors import InputError
from mixtures.spec import ImageFormat, Resize
from train.acting.robots import Robot
from train.acting.subtasks import Seen

logger = logging.getLogger(__name__)
JPEG_QUALITY = 95  # training images were JPEGs; TFDS writes quality 95
IMAGE = "image/"


def images_of(seen: Seen, robot: Robot) -> dict[str, bytes | NDArray[np.uint8]]:
    """Returns the images of an observation by slot, processed like the training images.

    A missing camera is left out, and the model sees that it is missing, as in training on rows without it. Images that the robot
    has no camera for are not used.

    Args:
        seen: observation; "image/<slot>" is (h, w, 3) uint8 in RGB, or the bytes of an encoded image, which are processed as
            `build` processes the encoded images of a dataset.
        robot: robot that acts; the model sees its cameras.

    Raises:
        InputError: the images of all cameras are missing; one is missing while another image belongs to no camera (its name is
            probably wrong); or an image has another shape or type, is damaged, or is too large.
    """
    given = [name.removeprefix(IMAGE) for name in seen if name.startswith(IMAGE)]
    missing = [slot for slot in robot.cameras if slot not in given]
    unused = [slot for slot in given if slot not in robot.cameras]
    if missing and (unused or len(missing) == len(robot.cameras)):
        raise InputError(
            f"the observation of {robot.embodiment} has the images {', '.join(IMAGE + s for s in given) or 'none'}; expected "
            f"{', '.join(IMAGE + slot for slot in robot.cameras)}, each (h, w, 3) uint8 in RGB. Leave out a camera that is "
            "not there"
        )
    if missing:
        say_once(f"{robot.embodiment} acts without {', '.join(missing)}: the model sees that there is no such image")
    there = [slot for slot in robot.cameras if slot in given]
    return {slot: _as_trained(seen[IMAGE + slot], IMAGE + slot, robot) for slot in there}


def state_of(seen: Seen, robot: Robot) -> NDArray[np.float32]:
    """Returns the state of an observation, (S,) in raw units; (0,) if the robot records no state.

    Args:
        seen: observation with "state" (S,).
        robot: robot that acts.

    Raises:
        InputError: the state is missing, has another length, or contains anything but finite numbers.
    """
    if not robot.state_dim:
        return np.zeros(0, np.float32)
    expected = f"expected {robot.state_dim} finite numbers in raw units: {', '.join(robot.state_names)}"
    if "state" not in seen:
        raise InputError(f"the observation of {robot.embodiment} has no state; {expected}")
    state = np.asarray(seen["state"])
    if state.shape != (robot.state_dim,) or state.dtype.kind not in "fiub":
        raise InputError(f"the state of {robot.embodiment} is {state.dtype} of shape {state.shape}; {expected}")
    out = state.astype(np.float32)
    if not np.isfinite(out).all():
        raise InputError(f"the state of {robot.embodiment} is {state.tolist()}; {expected}")
    return out


def encoded(frame: NDArray[np.uint8], robot: Robot) -> bytes:
    """Encodes a frame (h, w, 3) like the training images: with the size and the encoding that `build` gave them."""
    picture, size, form = Image.fromarray(frame), robot.resize, robot.encode
    if size is not None:
        picture = _fitted(picture, picture.size, size)
    quality = form.quality if form is not None else size.quality if size is not None else JPEG_QUALITY
    return _written(picture, _form(robot), quality)


def _form(robot: Robot) -> ImageFormat:
    """Returns the format of the training images."""
    return robot.image_format if robot.encode is None else robot.encode.format


def _as_trained(given: NDArray[Any] | bytes, name: str, robot: Robot) -> bytes | NDArray[np.uint8]:
    """Processes an image like the training images: pixels are encoded, and encoded images are treated as `build` treats them.

    `build` keeps encoded images that have the size of the mixture, and writes others as JPEG; it resizes frames before it encodes
    them. If an image is lossless (PNG) and the training images were not, it is encoded like them, so that it has the same losses.

    Raises:
        InputError: the image has another shape, type or format, is damaged, or is too large. The header is checked before the
            image is decoded.
    """
    if not isinstance(given, bytes):
        return encoded(_frame(given, name, robot), robot)
    try:
        picture, to = opened(given), robot.resize
        if to is not None and shown_size(picture) != _target(shown_size(picture), to):
            frames = robot.encode is not None
            return encoded(np.asarray(decoded(picture), np.uint8), robot) if frames else resized_as_built(given, to)
        pixels = np.asarray(decoded(picture), np.uint8)
        return encoded(pixels, robot) if picture.format == "PNG" != _form(robot).upper() else pixels
    except UndecodableError as error:
        raise InputError(
            f"{name} of {robot.embodiment} is {len(given):,} bytes that cannot be decoded: {error}; expected a whole JPEG, PNG "
            "or WebP image, or (h, w, 3) uint8 in RGB"
        ) from None


def resized_as_built(data: bytes, to: Resize) -> bytes:
    """Returns an encoded image with the size that `build` gives it: as JPEG, or as it is if it has that size.

    Raises:
        UndecodableError: the image is damaged, too large, or has another format.
    """
    picture = opened(data)
    size = shown_size(picture)
    if size == _target(size, to):
        return data
    return _written(_fitted(decoded(picture, near=(2 * to.width, 2 * to.height)), size, to), "jpeg", to.quality)


def _target(size: tuple[int, int], to: Resize) -> tuple[int, int]:
    """Returns the (width, height) that `build` gives an image of size (width, height)."""
    return inner_size(size, (to.width, to.height), to.fit) if to.fit == "inside" else (to.width, to.height)


def _fitted(picture: Image.Image, size: tuple[int, int], to: Resize) -> Image.Image:
    """Resizes a picture as `build` resized the training images; `size` is the (width, height) with which it was recorded."""
    frame = (to.width, to.height)
    return resized(picture, inner_size(size, frame, to.fit), "bicubic", frame if to.fit == "pad" else None)


def _written(picture: Image.Image, form: str, quality: int) -> bytes:
    """Encodes a picture in a format."""
    buffer = io.BytesIO()
    picture.save(buffer, form.upper(), **({} if form == "png" else {"quality": quality}))
    return buffer.getvalue()


@cache
def say_once(what: str) -> None:
    """Logs a warning only once, instead of with every chunk."""
    logger.warning(what)


def _frame(given: NDArray[Any], name: str, robot: Robot) -> NDArray[np.uint8]:
    """Checks the pixels of an image.

    Raises:
        InputError: the image has another shape or type.
    """
    frame = np.asarray(given)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise InputError(
            f"{name} of {robot.embodiment} is {frame.dtype} of shape {frame.shape}; expected (h, w, 3) uint8 in "
            "RGB, values 0 to 255"
        )
    return np.ascontiguousarray(frame)
