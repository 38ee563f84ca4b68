"""Images of a camera that cannot be had, and why: an episode that needs them is rejected, one that does not is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import BadFrame, Frame


@dataclass(frozen=True)
class AbsentFrames:
    """No images.

    Attributes:
        steps: how many there should be.
        problem: why there are none.
    """

    steps: int
    problem: str

    def __len__(self) -> int:
        return self.steps

    def check(self) -> str:
        """Why there are none."""
        return self.problem

    def take(self, steps: NDArray[np.integer[Any]]) -> "AbsentFrames":
        """No images of some steps."""
        return AbsentFrames(len(steps), self.problem)

    def size(self) -> int:
        """Nothing."""
        return 0

    def read(self) -> Iterator[Frame]:
        """Why there are none, for each step."""
        for _ in range(self.steps):
            yield BadFrame(self.problem)
