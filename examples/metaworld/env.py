"""The closed-loop environment of `fasttok-evaluate --env examples.metaworld.env:make`.

The environment gives the instruction, the simulator decides about success, and the episode's seed gives the layout. No
demonstration has a seed below 100,000,000.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.metaworld.blind import mean_demonstration
from examples.metaworld.robot import (
    ACTION_DIM,
    CAMERAS,
    CONTROL_HZ,
    EMBODIMENT,
    MAX_STEPS,
    known_to_robot,
    to_index,
    to_simulator,
)
from examples.metaworld.simulator import Simulation, check_package
from examples.metaworld.tasks import TASKS, Split
from fasttok.errors import unknown_name


class View(Mapping[str, NDArray]):
    """What the robot sees and feels now: "image/primary" and "image/wrist" (128, 128, 3) uint8, "state" (4,) float32.

    Drawing a picture takes longer than ten steps, so it is drawn at the first access, which must come before the next step.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation, self._moment = simulation, simulation.moment
        self._made: dict[str, NDArray] = {"state": known_to_robot(simulation.observation)}

    def __getitem__(self, name: str) -> NDArray:
        if name not in self._made:
            if name not in list(self):
                raise KeyError(name)
            if self._simulation.moment != self._moment:
                raise RuntimeError(f"{name} was not looked at before the next step; it is past")
            self._made[name] = self._simulation.picture(name.removeprefix("image/"))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        yield from (f"image/{slot}" for slot in CAMERAS)
        yield "state"

    def __len__(self) -> int:
        return len(CAMERAS) + 1


class Env:
    """One robot at one table. The same seed gives the same task, layout, sentence and pictures.

    Attributes:
        embodiment: name of the robot.
        control_hz: steps per second.
        action_dim: number of dims of an action.
        max_steps: maximum number of steps of an episode.
        split: tasks and sentences of the episodes.
        simulation: simulation of the current episode's task; it exists from the first reset on.
        instruction: what the robot should do, in words.
    """

    embodiment, control_hz, action_dim, max_steps = EMBODIMENT, CONTROL_HZ, ACTION_DIM, MAX_STEPS
    simulation: Simulation

    def __init__(self, split: Split) -> None:
        check_package()
        self.split, self.instruction = split, ""
        self._simulations: dict[str, Simulation] = {}  # made at the first use, as each takes 0.25 s

    def reset(self, seed: int) -> View:
        """Begins a new episode; the split's tasks take turns."""
        task = self.split.tasks[seed % len(self.split.tasks)]
        phrases = TASKS[task].phrases
        said = (
            TASKS[task].held_out if self.split.held_out else phrases[np.random.default_rng(seed).integers(len(phrases))]
        )
        self.simulation, self.instruction = self._of(task), said
        self.simulation.reset(seed)
        return self.observe()

    def step(self, action: NDArray) -> View:
        """Does one control step.

        Args:
            action: (4,) as an INDEX has it: x, y, z in cm per step, gripper 1 = open. Values that are too large are cut.

        Raises:
            ValueError: `action` is not 4 finite numbers.
        """
        self.simulation.step(to_simulator(action))
        return self.observe()

    def observe(self) -> View:
        """Returns what the robot sees and feels now."""
        return View(self.simulation)

    def success(self) -> bool:
        """Returns whether the package calls the last step a success. The evaluation ends an episode at its first success."""
        return self.simulation.success

    def info(self) -> dict[str, Any]:
        """Returns the current episode's task, and the number of steps taken."""
        return {"task": self.simulation.task, "steps": self.simulation.steps}

    def expert(self) -> NDArray[np.float32]:
        """Returns the next action of the package's scripted expert, (4,) as an INDEX has it.

        The expert reads the simulator's state, including the goal.
        """
        return to_index(self.simulation.expert())

    def blind(self) -> NDArray[np.float32] | None:
        """Returns the mean demonstration's action at this step, (4,) as an INDEX has it; None after its end."""
        actions = mean_demonstration(self.simulation.task)
        return actions[self.simulation.steps] if self.simulation.steps < len(actions) else None

    def _of(self, task: str) -> Simulation:
        if task not in self._simulations:
            self._simulations[task] = Simulation(task)
        return self._simulations[task]


def make(embodiment: str = EMBODIMENT, split: str = "seen") -> Env:
    """Makes an environment.

    Args:
        embodiment: name of the robot; there is only one.
        split: tasks and sentences, as `Split.named` reads them: `seen`, `reach`, `reach+push`, `all`, `reach+held_out`.

    Raises:
        InputError: there is no such embodiment or split, or MetaWorld is missing or cannot draw.
    """
    if embodiment != EMBODIMENT:
        raise unknown_name("embodiment", embodiment, [EMBODIMENT])
    return Env(Split.named(split))
