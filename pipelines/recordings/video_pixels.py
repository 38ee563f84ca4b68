"""Converts a decoded frame to RGB pixels.

The colour matrix and range are those of the video's tags (BT.709, BT.601, BT.2020; limited or full). A video without tags is read
as BT.601 in limited range, as FFmpeg and so the decoders of LeRobot do. Frames are turned as the container says, so they look as
in every player.
"""

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.recordings.video_header import depth_format

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter


def rgb(frame: "VideoFrame", by: "VideoReformatter") -> NDArray[np.uint8] | str:
    """Returns (H, W, 3) uint8 RGB pixels, contiguous; or why the frame is no picture.

    Args:
        frame: a decoded frame.
        by: converter, which the caller keeps from frame to frame, because making one takes as long as using it.
    """
    if problem := depth_format(frame.format.name):
        return problem
    converted = by.reformat(frame, format="rgb24", threads=1)
    return turned(np.asarray(converted.to_ndarray(), np.uint8), _matrix(frame))


def turned(pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8] | str:
    """Returns pixels turned and mirrored as a display matrix says; or why that is not possible.

    Args:
        pixels: (H, W, 3) uint8.
        matrix: (a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y).

    >>> turned(np.arange(6, dtype=np.uint8).reshape(1, 2, 3), (0, 1, -1, 0))[:, 0, 0].tolist()
    [0, 3]
    """
    a, b, c, d = matrix
    if a and d and not b and not c:
        right, down = a, d
    elif b and c and not a and not d:
        pixels, right, down = pixels.transpose(1, 0, 2), c, b
    else:
        return "is turned by an angle that is no multiple of 90 degrees"
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """Returns (a, b, c, d) of the display matrix; of the identity if there is none."""
    from av.sidedata.sidedata import SideDataContainer, Type

    try:
        data = bytes(cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX])
    except KeyError:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, "=i4")[:5].tolist()
    return a, b, c, d
