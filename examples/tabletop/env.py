"""The closed-loop environment: what `python -m train.evaluate --env examples.tabletop.env:make` drives."""

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.embodiments import EMBODIMENTS, Embodiment
from examples.tabletop.render import CAMERAS
from examples.tabletop.tasks import SPLITS, Task, sample
from examples.tabletop.world import World
from fasttok.errors import unknown_name

SECONDS = 8.0  # of an episode, at most
HOLD_SECONDS = 0.3  # a task counts as done when it has been for so long: passing by is not enough


class Env:
    """One robot at one table. The same seed gives the same scene, task and pictures.

    Attributes:
        embodiment: name. control_hz: steps a second. action_dim: D. max_steps: of an episode.
        world, task: the state and what is asked; of the current episode.
    """

    def __init__(self, embodiment: Embodiment, split: str) -> None:
        self.robot = embodiment
        self.split = split
        self.embodiment = embodiment.name
        self.control_hz = embodiment.control_hz
        self.action_dim = embodiment.action_dim
        self.max_steps = round(SECONDS * embodiment.control_hz)
        self.world: World
        self.task: Task

    def reset(self, seed: int) -> dict[str, NDArray]:
        """A new episode; returns the first observation."""
        self.world, self.task = sample(np.random.default_rng(seed), self.split)
        self.world.height = self.robot.cruise
        self._start = self.world.positions.copy()
        self._held_for = 0
        return self.observe()

    def step(self, action: NDArray) -> dict[str, NDArray]:
        """One control step.

        Args:
            action: (D,) raw units; too fast a motion is limited, NaN is refused.

        Raises:
            ValueError: not (D,) finite numbers.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (self.action_dim,) or not np.isfinite(action).all():
            raise ValueError(f"{self.embodiment}: expected {self.action_dim} finite numbers, got {action}")
        self.robot.apply(self.world, action)
        self._held_for = self._held_for + 1 if self.task.satisfied(self.world) else 0
        return self.observe()

    def observe(self) -> dict[str, NDArray]:
        """{"image/<slot>": (64, 64, 3) uint8 per camera, "state": (S,) float32}."""
        images = {f"image/{slot}": CAMERAS[slot](self.world) for slot in self.robot.cameras}
        return images | {"state": self.robot.state(self.world)}

    @property
    def instruction(self) -> str:
        """What is asked."""
        return self.task.instruction

    def success(self) -> bool:
        """Whether what was asked has been so for the last 0.3 s."""
        return self._held_for >= HOLD_SECONDS * self.control_hz

    def followed(self) -> bool:
        """Whether the behaviour, good or bad, was about the block that the instruction names."""
        return self.task.meant(self.world, self._start) == self.task.target


def make(embodiment: str = "planar", split: str = "seen") -> Env:
    """An environment.

    Args:
        embodiment: planar or arm. split: seen, held_out, held_out_pair or held_out_phrase (`tasks.sample`).

    Raises:
        InputError: no such embodiment or split.
    """
    if embodiment not in EMBODIMENTS:
        raise unknown_name("embodiment", embodiment, EMBODIMENTS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return Env(EMBODIMENTS[embodiment], split)
