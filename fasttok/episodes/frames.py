"""Defines frames: the images of a camera along an episode, in a video or an array on disk, which are read only when needed.

A reader of episodes describes the frames and opens nothing. `index` looks at headers, and a build reads the steps that it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BadFrame:
    """A frame that cannot be read.

    Attributes:
        detail: what is wrong, with the file and the time or step.
    """

    detail: str


Frame = bytes | NDArray[np.uint8] | BadFrame
"""An encoded image (JPEG, PNG or WebP), decoded pixels (H, W, 3) uint8 RGB, or the reason why there is no image."""


class Frames(Protocol):
    """The images of a camera, one per step."""

    def __len__(self) -> int:
        """Returns the number of steps."""
        ...

    def check(self) -> str:
        """Returns what is wrong with the images according to their headers, "" for nothing. It decodes nothing."""
        ...

    def take(self, steps: NDArray[np.integer[Any]]) -> "Frames":
        """Returns the frames of some steps, (k,) ascending."""
        ...

    def size(self) -> int:
        """Returns the bytes of all images in shards; an estimate if they are not encoded yet."""
        ...

    def read(self) -> Iterator[Frame]:
        """Yields the images of all steps, in order; each video is decoded once, from start to end."""
        ...
