"""What a running robot sees, checked, and made what training showed: images as the shards hold them, a state in raw units."""

import io
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.images import inner_size, resized
from fasttok.errors import InputError
from train.acting.robots import Robot

logger = logging.getLogger(__name__)
JPEG_QUALITY = 95  # training images were JPEGs; TFDS writes quality 95
IMAGE = "image/"


def images_of(seen: Mapping[str, NDArray[Any]], robot: Robot) -> dict[str, bytes]:
    """The images of an observation by slot, encoded as the training images were; a camera that is not there is left out.

    The model is then told that it is not there, as in training on rows without it. Images that the robot has no camera for are
    not used.

    Args:
        seen: "image/<slot>" (h, w, 3) uint8, RGB.
        robot: who acts; its cameras are those that the model sees.

    Raises:
        InputError: none of its cameras is there, one is missing while there is an image that it has no camera for (another name
            is likely), or an image is of another shape or type.
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
        _say_once(
            f"{robot.embodiment} acts without {', '.join(missing)}: the model is told that there is no such image"
        )
    there = [slot for slot in robot.cameras if slot in given]
    return {slot: encoded(_frame(seen[IMAGE + slot], IMAGE + slot, robot), robot) for slot in there}


def state_of(seen: Mapping[str, NDArray[Any]], robot: Robot) -> NDArray[np.float32]:
    """The state of an observation, (S,) in raw units; (0,) of a robot that records none.

    Args:
        seen: "state" (S,).
        robot: who acts.

    Raises:
        InputError: it is missing, of another length, or holds something else than finite numbers.
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
        to = (size.width, size.height)
        picture = resized(picture, inner_size(picture.size, to, size.fit), "bicubic", to if size.fit == "pad" else None)
    quality = form.quality if form is not None else size.quality if size is not None else JPEG_QUALITY
    kind = form.format if form is not None else "jpeg"
    buffer = io.BytesIO()
    picture.save(buffer, kind.upper(), **({} if kind == "png" else {"quality": quality}))
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
