"""One instruction and what is seen with it, checked and decoded: what `train.player.Player` puts into a batch.

A row stands alone: whether it can be acted on does not depend on the rows beside it, and it can be made in another thread than
the one that computes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.acting.robots import Robot


@dataclass(frozen=True, eq=False)
class ActingRow:
    """What the model reads before it acts, or says a subtask.

    Attributes:
        robot: who acts.
        task: the instruction.
        state: (S,) float32 in raw units; (0,) of a robot that records none.
        images: by slot, (size, size, 3) uint8 in RGB, as the model sees them; a camera that is not there is left out.
        subtask: to act on; "" for none.
        prefix: (L, D) float32 in raw units: what is left of the chunk that is being executed; None: nothing is.
        delay: how many steps of it will surely be executed.
    """

    robot: Robot
    task: str
    state: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]
    subtask: str = ""
    prefix: NDArray[np.float32] | None = None
    delay: int = 0
