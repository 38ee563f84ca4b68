"""Stands for images of a camera that cannot be read: an episode that needs them is rejected, other episodes are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import BadFrame, Frame


@dataclass(frozen=True)
class AbsentFrames:
    """Frames without any image (`fasttok.episodes.frames.Frames`).

    Attributes:
        steps: number of images that there should be.
        problem: why there are none.
    """

    steps: int
    problem: str

    def __len__(self) -> int:
        return self.steps

    def check(self) -> str:
        """Returns why there are no images."""
        return self.problem

    def take(self, steps: NDArray[np.integer[Any]]) -> "AbsentFrames":
        """Returns absent frames for some steps."""
        return AbsentFrames(len(steps), self.problem)

    def size(self) -> int:
        """Returns 0."""
        return 0

    def read(self) -> Iterator[Frame]:
        """Yields for each step why there is no image."""
        for _ in range(self.steps):
            yield BadFrame(self.problem)
