"""Policies that act at a table besides a trained robot. Each yields the actions of an episode, one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.expert import Expert

if TYPE_CHECKING:
    from examples.tabletop.vector import VectorEnv

OTHER_SCENES = 1 << 24  # seeds that no evaluation uses
Policy = Callable[["VectorEnv", int, int], Iterator[NDArray]]  # environment, row, seed -> actions (D,)


def expert(env: "VectorEnv", row: int, seed: int) -> Iterator[NDArray]:
    """Acts as the expert in this scene."""
    return acts(Expert(env.world(row), env.tasks[row], env.robot, np.random.default_rng(seed)))


def nearest(env: "VectorEnv", row: int, seed: int) -> Iterator[NDArray]:
    """Acts as the expert would if the instruction named the nearest block."""
    task, near = env.tasks[row], int(env.info()["nearest"][row])
    goal = task.target if task.goal == near else task.goal  # a block cannot be brought to itself
    return acts(Expert(env.world(row), replace(task, target=near, goal=goal), env.robot, np.random.default_rng(seed)))


def blind(env: "VectorEnv", _row: int, seed: int) -> Iterator[NDArray]:
    """Repeats what the expert does in other scenes, one scene after the other."""
    other, number = env.demonstration(), OTHER_SCENES + 100 * seed
    while True:
        other.reset([number])
        for action in expert(other, 0, number):
            other.step(action[None])
            yield action
        number += 1


def acts(acting: Expert) -> Iterator[NDArray]:
    """Yields the actions of an expert until it is done."""
    while (action := acting.act()) is not None:
        yield action


def act_all(acting: Sequence[Iterator[NDArray]], active: NDArray[np.bool_], actions: NDArray) -> None:
    """Writes the next action of each active table (N,) to `actions` (N, D). A table is not active any more if it has none."""
    for row in np.flatnonzero(active).tolist():
        action = next(acting[row], None)
        if action is None:
            active[row] = False
        else:
            actions[row] = action


POLICIES: dict[str, Policy] = {"expert": expert, "nearest": nearest, "blind": blind}
