"""What a running robot sees, checked, and made what training showed: images as the shards hold them, a state in raw units."""

import io
import logging
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.images import UndecodableError, decoded, inner_size, opened, resized
from fasttok.errors import InputError
from mixtures.spec import ImageFormat, Resize
from train.acting.robots import Robot
from train.acting.subtasks import Seen

logger = logging.getLogger(__name__)
JPEG_QUALITY = 95  # training images were JPEGs; TFDS writes quality 95
IMAGE = "image/"


def images_of(seen: Seen, robot: Robot) -> dict[str, bytes | NDArray[np.uint8]]:
    """The images of an observation by slot, as the training images were; a camera that is not there is left out.

    The model is then told that it is not there, as in training on rows without it. Images that the robot has no camera for are
    not used.

    Args:
        seen: "image/<slot>" (h, w, 3) uint8, RGB; or the bytes of an encoded image, which go through what a build does with
            images that a dataset has encoded.
        robot: who acts; its cameras are those that the model sees.

    Raises:
        InputError: none of its cameras is there, one is missing while there is an image that it has no camera for (another name
            is likely), or an image is of another shape or type, damaged, or too large.
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
        _say_once(f"{robot.embodiment} acts without {', '.join(missing)}: the model sees that there is no such image")
    there = [slot for slot in robot.cameras if slot in given]
    return {slot: _as_trained(seen[IMAGE + slot], IMAGE + slot, robot) for slot in there}


def state_of(seen: Seen, robot: Robot) -> NDArray[np.float32]:
    """The state of an observation, (S,) in raw units; (0,) of a robot that records none.

    Args:
        seen: "state" (S,).
        robot: who acts.

    Raises:
        InputError: it is missing, of another length, or contains something else than finite numbers.
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
    """A frame with what the training images went through: the size that a build gave them, and their encoding."""
    picture, size, form = Image.fromarray(frame), robot.resize, robot.encode
    if size is not None:
        picture = _fitted(picture, picture.size, size)
    quality = form.quality if form is not None else size.quality if size is not None else JPEG_QUALITY
    return _written(picture, _form(robot), quality)


def _form(robot: Robot) -> ImageFormat:
    """What the training images were."""
    return robot.image_format if robot.encode is None else robot.encode.format


def _as_trained(given: NDArray[Any] | bytes, name: str, robot: Robot) -> bytes | NDArray[np.uint8]:
    """An image as training had it: pixels are encoded, and what is encoded goes through what a build does with it.

    A build keeps encoded images that have the size which the mixture asks for, and writes others as JPEG. An image without losses
    (PNG), where the training images had some, gets them.

    Raises:
        InputError: it is of another shape, type or format, damaged or too large; what its header says decides before it is read.
    """
    if not isinstance(given, bytes):
        return encoded(_frame(given, name, robot), robot)
    try:
        picture, to = opened(given), robot.resize
        if to is None or picture.size == _target(picture.size, to):
            pixels = np.asarray(decoded(picture), np.uint8)
            return encoded(pixels, robot) if picture.format == "PNG" != _form(robot).upper() else pixels
        size = picture.size
        return _written(_fitted(decoded(picture, near=(2 * to.width, 2 * to.height)), size, to), "jpeg", to.quality)
    except UndecodableError as error:
        raise InputError(
            f"{name} of {robot.embodiment} is {len(given):,} bytes that cannot be decoded: {error}; expected a whole JPEG, PNG "
            "or WebP image, or (h, w, 3) uint8 in RGB"
        ) from None


def _target(size: tuple[int, int], to: Resize) -> tuple[int, int]:
    """(width, height) that a build gives an image of this size."""
    return inner_size(size, (to.width, to.height), to.fit) if to.fit == "inside" else (to.width, to.height)


def _fitted(picture: Image.Image, size: tuple[int, int], to: Resize) -> Image.Image:
    """A picture of the size that the build gave the training images; `size` is the one that it was recorded with."""
    frame = (to.width, to.height)
    return resized(picture, inner_size(size, frame, to.fit), "bicubic", frame if to.fit == "pad" else None)


def _written(picture: Image.Image, form: str, quality: int) -> bytes:
    """A picture in a format."""
    buffer = io.BytesIO()
    picture.save(buffer, form.upper(), **({} if form == "png" else {"quality": quality}))
    return buffer.getvalue()


@cache
def _say_once(what: str) -> None:
    """A warning that would else come with every chunk."""
    logger.warning(what)


def _frame(given: NDArray[Any], name: str, robot: Robot) -> NDArray[np.uint8]:
    """An image, checked.

    Raises:
        InputError: another shape or type.
    """
    frame = np.asarray(given)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise InputError(
            f"{name} of {robot.embodiment} is {frame.dtype} of shape {frame.shape}; expected (h, w, 3) uint8 in "
            "RGB, values 0 to 255"
        )
    return np.ascontiguousarray(frame)
