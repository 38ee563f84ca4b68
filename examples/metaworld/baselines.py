"""Measures the companions of a robot trained on MetaWorld: the package's scripted expert, and a robot that does not look.

    python -m examples.metaworld.baselines --episodes 20

expert    the package's scripted expert, which reads the simulator's state, including the goal
blind     at each step the mean of 20 demonstrations of the same task on other tables, whatever the cameras see
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from examples.metaworld.env import Env, make
from examples.metaworld.tasks import DEFAULT_TASKS, task_names
from fasttok.common import json_files
from fasttok.common.console import emit_json, progress, run, table, write_text
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError, unknown_name
from train.judging.wilson import percent

FIRST_SEED = 1_000_000  # the first seed of `fasttok-evaluate`
POLICIES = ("expert", "blind")


@dataclass(frozen=True)
class MetaWorldBaselines:
    """Measures how often MetaWorld's scripted expert succeeds, and how often a robot that acts blindly does.

    Example: python -m examples.metaworld.baselines --tasks reach push --episodes 20
    """

    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Names of tasks, with or without -v3. mt10 stands for ten of them, all for all fifty of the package."""
    episodes: int = 20
    """Number of episodes for each task and policy."""
    policies: tuple[str, ...] = POLICIES
    """Policies to measure. expert is the package's scripted expert;
    blind repeats the mean of demonstrations of the same task on other tables."""
    seed: int = FIRST_SEED
    """Seed of the first episode. By default the episodes are those of `fasttok-evaluate`."""
    out: Maybe[Path] = None
    """JSON file for the results."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print the results as JSON on stdout."""


def play(env: Env, seed: int, policy: str) -> bool:
    """Plays one episode as `fasttok-evaluate` does, and returns whether it succeeded.

    The episode ends with its first success, after `max_steps`, or when the policy has no action left.
    """
    env.reset(seed)
    for _ in range(env.max_steps):
        action = env.expert() if policy == "expert" else env.blind()
        if action is None:
            return False
        env.step(action)
        if env.success():
            return True
    return False


def measure(policy: str, task: str, episodes: int, seed: int = FIRST_SEED) -> dict[str, Any]:
    """Counts the successes of a policy, with progress on stderr.

    Args:
        policy: one of `POLICIES`.
        task: name of the task.
        episodes: number of episodes to play.
        seed: seed of the first episode.

    Returns:
        A row with the keys policy, task, episodes, and success (the number of successes).

    Raises:
        InputError: there is no such policy or task, or MetaWorld is missing or cannot draw.
    """
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    env, successes = make(split=task), 0
    with progress(f"{policy}, {task}", episodes, "episodes") as advance:
        for one in range(seed, seed + episodes):
            successes += play(env, one, policy)
            advance()
    return {"policy": policy, "task": task, "episodes": episodes, "success": successes}


def main(config: MetaWorldBaselines) -> None:
    """Plays all episodes, and prints or writes the results.

    Raises:
        InputError: there is no such policy or task, or no episode to play, or MetaWorld is missing or cannot draw.
    """
    if config.episodes < 1 or config.seed < 0:
        raise InputError(
            f"--episodes is {config.episodes} and --seed {config.seed}, expected at least 1, and at least 0"
        )
    if config.out is not None:
        check_output_file(config.out, overwrite=config.overwrite, flag="--out")
    rows = [
        measure(policy, task, config.episodes, config.seed)
        for task in task_names(config.tasks)
        for policy in dict.fromkeys(config.policies)
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
