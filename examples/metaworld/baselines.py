"""What a robot trained on MetaWorld is compared with: the package's scripted expert, and one that acts without looking.

    python -m examples.metaworld.baselines --episodes 20

expert    the package's scripted expert, which reads the simulator's state, the goal too
blind     the mean of 20 demonstrations of the same task on other tables, step by step, whatever it sees
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.metaworld.env import Env, make
from examples.metaworld.robot import MAX_STEPS, to_index
from examples.metaworld.simulator import Simulation
from examples.metaworld.tasks import DEFAULT_TASKS, task_names
from examples.report import percent
from fasttok.common import json_files
from fasttok.common.console import emit_json, progress, run, table, write_text
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError, unknown_name

FIRST_SEED = 1_000_000  # of `fasttok-evaluate`
OTHER_TABLES = 50_000_000  # seeds that no evaluation and no demonstration uses
DEMONSTRATIONS = 20
Policy = Callable[[Env], Iterator[NDArray]]  # an environment that was reset -> actions (4,) as an INDEX has them


@dataclass(frozen=True)
class MetaWorldBaselines:
    """Success of the scripted expert, and of acting without looking.

    Example: python -m examples.metaworld.baselines --tasks reach push --episodes 20
    """

    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Tasks, by the package's names with or without -v3; `all` is every one of the fifty."""
    episodes: int = 20
    """Episodes of each task and policy."""
    policies: tuple[str, ...] = ("expert", "blind")
    """Who acts."""
    seed: int = FIRST_SEED
    """Seed of the first episode: by default those of `fasttok-evaluate`."""
    out: Path | None = None
    """JSON file for the results."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON on stdout."""


def expert(env: Env) -> Iterator[NDArray]:
    """What the scripted expert does."""
    while True:
        yield to_index(env.simulation.expert())


def blind(env: Env) -> Iterator[NDArray]:
    """The mean demonstration of the task, once."""
    yield from mean_demonstration(env.simulation.task)


@cache
def mean_demonstration(task: str) -> NDArray[np.float32]:
    """Actions (T, 4) as an INDEX has them: at each step the mean of the demonstrations that are not yet over.

    T is the length of the longest.
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


POLICIES: dict[str, Policy] = {"expert": expert, "blind": blind}


def play(env: Env, seed: int, policy: Policy) -> bool:
    """One episode, as `fasttok-evaluate` plays it: until its first success, or until the time is up or nothing is left to do."""
    env.reset(seed)
    acting = policy(env)
    for _ in range(env.max_steps):
        action = next(acting, None)
        if action is None:
            return False
        env.step(action)
        if env.success():
            return True
    return False


def measure(policy: str, task: str, episodes: int, seed: int = FIRST_SEED) -> dict[str, Any]:
    """The share of successes, with progress on stderr.

    Args:
        policy: one of `POLICIES`.
        task: its name.
        episodes: how many to play.
        seed: seed of the first episode.

    Returns:
        policy, task, episodes, and the share success.

    Raises:
        InputError: no such policy or task, or MetaWorld is missing or cannot draw.
    """
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    env, successes = make(split=task), 0
    with progress(f"{policy}, {task}", episodes, "episodes") as advance:
        for one in range(seed, seed + episodes):
            successes += play(env, one, POLICIES[policy])
            advance()
    return {"policy": policy, "task": task, "episodes": episodes, "success": successes / episodes}


def main(config: MetaWorldBaselines) -> None:
    """Plays and prints.

    Raises:
        InputError: no such policy or task, no episodes, or MetaWorld is missing or cannot draw.
    """
    if config.episodes < 1:
        raise InputError(f"--episodes is {config.episodes}, expected at least 1")
    if config.out is not None:
        check_output_file(config.out, overwrite=config.overwrite, flag="--out")
    rows = [
        measure(policy, task, config.episodes, config.seed)
        for task in task_names(config.tasks)
        for policy in config.policies
    ]
    if config.out is not None:
        write_text(config.out, json_files.write(rows))
    if config.json:
        emit_json(rows)
        return
    cells = [[row["policy"], row["task"], row["episodes"], percent(row["success"], row["episodes"])] for row in rows]
    table("baselines", ["policy", "task", "episodes", "success [95 % interval]"], cells)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(MetaWorldBaselines, prog="python -m examples.metaworld.baselines"))))
