"""The closed-loop environment: what `fasttok-evaluate --env examples.metaworld.env:make` drives.

The instruction comes from the environment, success from the simulator, and layouts from the episode's seed: no seed below
100,000,000 is a demonstration's.
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
    """What the robot sees and feels now: "image/primary", "image/wrist" (128, 128, 3) uint8, "state" (4,) float32.

    A picture costs more than ten steps, so it is drawn when it is first looked at, which must be before the next step.
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
        embodiment: name. control_hz: steps per second. action_dim: D. max_steps: of an episode.
        split: what episodes ask for.
        simulation: of the current episode's task; there from the first reset on.
        instruction: what is asked, in words.
    """

    embodiment, control_hz, action_dim, max_steps = EMBODIMENT, CONTROL_HZ, ACTION_DIM, MAX_STEPS
    simulation: Simulation

    def __init__(self, split: Split) -> None:
        check_package()
        self.split, self.instruction = split, ""
        self._simulations: dict[str, Simulation] = {}  # made when first asked for: each takes a quarter of a second

    def reset(self, seed: int) -> View:
        """A new episode; the split's tasks take turns."""
        task = self.split.tasks[seed % len(self.split.tasks)]
        phrases = TASKS[task].phrases
        said = (
            TASKS[task].held_out if self.split.held_out else phrases[np.random.default_rng(seed).integers(len(phrases))]
        )
        self.simulation, self.instruction = self._of(task), said
        self.simulation.reset(seed)
        return self.observe()

    def step(self, action: NDArray) -> View:
        """One control step.

        Args:
            action: (4,) as an INDEX has it: x, y, z in cm, gripper 1 = open; too large ones are cut.

        Raises:
            ValueError: not 4 finite numbers.
        """
        self.simulation.step(to_simulator(action))
        return self.observe()

    def observe(self) -> View:
        """What is seen now."""
        return View(self.simulation)

    def success(self) -> bool:
        """Whether the package calls the last step a success; the evaluation ends an episode with its first."""
        return self.simulation.success

    def info(self) -> dict[str, Any]:
        """Of the current episode: its task, and the steps taken."""
        return {"task": self.simulation.task, "steps": self.simulation.steps}

    def expert(self) -> NDArray[np.float32]:
        """What the package's scripted expert does next, (4,) as an INDEX has it; it reads the simulator's state, the goal too."""
        return to_index(self.simulation.expert())

    def blind(self) -> NDArray[np.float32] | None:
        """What the mean demonstration of the task does at this step, (4,) as an INDEX has it; None after its end."""
        actions = mean_demonstration(self.simulation.task)
        return actions[self.simulation.steps] if self.simulation.steps < len(actions) else None

    def _of(self, task: str) -> Simulation:
        if task not in self._simulations:
            self._simulations[task] = Simulation(task)
        return self._simulations[task]


def make(embodiment: str = EMBODIMENT, split: str = "seen") -> Env:
    """An environment.

    Args:
        embodiment: the one robot there is.
        split: tasks, and how they are said, as `Split.named` has it: `seen`, `reach`, `reach+push`, `all`, `reach+held_out`.

    Raises:
        InputError: no such embodiment or split, or MetaWorld is missing or cannot draw.
    """
    if embodiment != EMBODIMENT:
        raise unknown_name("embodiment", embodiment, [EMBODIMENT])
    return Env(Split.named(split))
