"""Images that are already encoded, as in RLDS and in LeRobot tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import Frame
from pipelines.common.image_headers import check_header


@dataclass(frozen=True, eq=False)
class EncodedFrames:
    """Encoded images, which are passed on as they are (`fasttok.episodes.frames.Frames`).

    Attributes:
        images: bytes of one image per step.
        numbers: numbers of the steps in the stored episode, for messages; () for 0, 1, 2 ...
    """

    images: Sequence[Any]
    numbers: Sequence[int] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    def check(self) -> str:
        """Returns what is wrong with the first image that is none or has a damaged header, "" if all are sound."""
        for step, image in zip(self.numbers or range(len(self.images)), self.images, strict=True):
            problem = check_header(image) if isinstance(image, bytes) else "not one image"
            if problem:
                return f"step {step}: {problem}"
        return ""

    def take(self, steps: NDArray[np.integer[Any]]) -> "EncodedFrames":
        """Returns the images of some steps."""
        at = steps.tolist()
        return EncodedFrames([self.images[i] for i in at], [self.numbers[i] for i in at] if self.numbers else at)

    def size(self) -> int:
        """Returns the bytes of all images."""
        return sum(map(len, self.images))

    def read(self) -> Iterator[Frame]:
        """Yields the images."""
        yield from self.images
