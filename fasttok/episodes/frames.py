"""Images of a camera along an episode, which are read only when somebody asks for them: of a video, of an array on disk.

A reader of episodes describes such images and opens nothing; `index` looks at headers, and a build reads the steps that it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BadFrame:
    """A frame that cannot be had.

    Attributes:
        detail: what is wrong, with the file and the time or step.
    """

    detail: str


Frame = bytes | NDArray[np.uint8] | BadFrame
"""An encoded image (JPEG or PNG); decoded pixels, (H, W, 3) uint8 RGB; or why there is none."""


class Frames(Protocol):
    """One image a step."""

    def __len__(self) -> int:
        """Number of steps."""
        ...

    def check(self) -> str:
        """What is wrong with the images as far as headers tell, "" for nothing. Nothing is decoded."""
        ...

    def take(self, steps: NDArray[np.integer[Any]]) -> "Frames":
        """The images of some steps, (k,) ascending."""
        ...

    def size(self) -> int:
        """Bytes of all images as shards will hold them; an estimate where they are not encoded yet."""
        ...

    def read(self) -> Iterator[Frame]:
        """The images of all steps, in order; each video is decoded once and forwards."""
        ...
