"""A row for acting: one instruction with its observation, checked and decoded, for a batch of `train.player.Player`.

Rows are independent of each other: whether a policy can act on a row does not depend on the other rows of its batch. So rows can
be made in other threads than the one that computes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.acting.robots import Robot


@dataclass(frozen=True, eq=False)
class ActingRow:
    """What the model reads before it acts, or says a subtask.

    Attributes:
        robot: robot that acts.
        task: the instruction, in the words of the prompts in training.
        state: (S,) float32 in raw units; (0,) if the robot records no state.
        images: images by slot, (size, size, 3) uint8 in RGB, in the size of the model; a missing camera is left out.
        subtask: subtask to act on; "" for none.
        prefix: (L, D) float32 in raw units: the remaining actions of the chunk that is being executed; None if there is none.
        delay: how many steps of `prefix` will surely be executed.
    """

    robot: Robot
    task: str
    state: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]
    subtask: str = ""
    prefix: NDArray[np.float32] | None = None
    delay: int = 0
