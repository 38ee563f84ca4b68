"""A robot that acts without looking: the mean of demonstrations of its task on other tables."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from examples.metaworld.robot import MAX_STEPS, to_index
from examples.metaworld.simulator import Simulation

OTHER_TABLES = 50_000_000  # seeds that no evaluation and no demonstration uses
DEMONSTRATIONS = 20


@cache
def mean_demonstration(task: str) -> NDArray[np.float32]:
    """Returns actions (T, 4) as an INDEX has them: at each step the mean of the demonstrations that are not over yet.

    T is the length of the longest demonstration; 0 if the expert never succeeds.
    """
    simulation, found = Simulation(task), []
    for seed in range(OTHER_TABLES, OTHER_TABLES + DEMONSTRATIONS):
        simulation.reset(seed)
        actions = []
        while not simulation.success and simulation.steps < MAX_STEPS:
            actions.append(simulation.expert())
            simulation.step(actions[-1])
        if simulation.success:
            found.append([to_index(action) for action in actions])
    if not found:
        return np.zeros((0, 4), np.float32)
    longest = max(map(len, found))
    means = [np.mean([one[t] for one in found if t < len(one)], axis=0) for t in range(longest)]
    return np.asarray(means, np.float32)
