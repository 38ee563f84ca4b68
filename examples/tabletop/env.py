"""The closed-loop environment of `fasttok-evaluate --env examples.tabletop.env:make`.

It is one table of a `vector.VectorEnv`. `make_vector` makes many tables at once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.tasks import Task
from examples.tabletop.vector import SeenByOne, VectorEnv, make_vector
from examples.tabletop.world import World

__all__ = ["Env", "make", "make_reach", "make_vector"]


class Env:
    """One robot at one table. The same seed gives the same scene, task and pictures.

    Attributes:
        embodiment: name of the robot.
        control_hz: steps per second.
        action_dim: number of dims D of an action.
        max_steps: maximum number of steps of an episode.
    """

    def __init__(self, vector: VectorEnv) -> None:
        self.vector, self.robot = vector, vector.robot
        self.embodiment, self.control_hz = vector.embodiment, vector.control_hz
        self.action_dim, self.max_steps = vector.action_dim, vector.max_steps

    def reset(self, seed: int) -> SeenByOne:
        """Begins a new episode, and returns its first observation."""
        return self.vector.reset([seed]).row(0)

    def step(self, action: NDArray) -> SeenByOne:
        """Does one control step.

        Args:
            action: (D,) in raw units. A motion that is too fast is limited; NaN is refused.

        Raises:
            ValueError: `action` is not (D,) finite numbers.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (self.action_dim,):
            raise ValueError(f"{self.embodiment}: expected {self.action_dim} finite numbers, got {action}")
        return self.vector.step(action[None]).row(0)

    def observe(self) -> SeenByOne:
        """Returns {"image/<slot>": (64, 64, 3) uint8 per camera, "state": (S,) float32}; draws pictures at the first access."""
        return self.vector.observe().row(0)

    def expert(self) -> NDArray | None:
        """Returns the expert's next action, (D,); None if there is nothing more to do."""
        return self._one(self.vector.expert(np.ones(1, bool)))

    def blind(self) -> NDArray | None:
        """Returns the next action of a robot that replays demonstrations of other scenes, (D,)."""
        return self._one(self.vector.blind(np.ones(1, bool)))

    @staticmethod
    def _one(actions: NDArray) -> NDArray | None:
        return actions[0] if np.isfinite(actions[0]).all() else None

    @property
    def world(self) -> World:
        """The state of the table."""
        return self.vector.world(0)

    @property
    def task(self) -> Task:
        """The current episode's task."""
        return self.vector.tasks[0]

    @property
    def instruction(self) -> str:
        """The task in words."""
        return self.task.instruction

    def success(self) -> bool:
        """Returns whether the task has been done for the last 0.3 s."""
        return bool(self.vector.success()[0])

    def followed(self) -> bool:
        """Returns whether the first block that the robot did something with is the named one (`VectorEnv.followed`)."""
        return bool(self.vector.followed()[0])

    def info(self) -> dict[str, Any]:
        """Returns the values of `VectorEnv.info` for the current episode, as plain Python values."""
        return {name: value[0].item() for name, value in self.vector.info().items()}


def make(embodiment: str = "planar", split: str = "seen", task: str = "", correlation: float | None = None) -> Env:
    """Makes an environment.

    Args:
        embodiment: planar or arm.
        split: one of `scenes.SPLITS`; `a+b` applies both.
        task: kinds of `tasks.KINDS`, such as "reach" or "reach+push"; "": all kinds.
        correlation: share of episodes in which the named block is the nearest one, in splits that do not set it; None: 0.9.

    Raises:
        InputError: there is no such embodiment, split or task, or `correlation` is not a share.
    """
    return Env(make_vector(embodiment, split, 1, task, correlation))


REACH_TASK, REACH_CORRELATION = "reach", 0.5  # the demo's world


def make_reach(embodiment: str = "planar", split: str = "seen", n: int = 1) -> VectorEnv:
    """Makes N environments of the demo's world: the hand goes to the named block, which is the nearest one half of the time.

    Args:
        embodiment: planar or arm.
        split: one of `scenes.SPLITS`; `a+b` applies both.
        n: number of tables.

    Raises:
        InputError: as `make_vector` raises it.
    """
    return make_vector(embodiment, split, n, REACH_TASK, REACH_CORRELATION)
