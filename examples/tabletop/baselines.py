"""Measures what to compare a trained robot with: the expert, a robot that does not look, and one that does not listen.

    python -m examples.tabletop.baselines --episodes 200

expert    does what the instruction asks
nearest   does what the instruction asks, but with the block that is nearest to the hand, whichever block it names: a robot learns
          this if it trusts the spurious correlation of the demonstrations
blind     replays demonstrations of other scenes, one after the other, until the time is up
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make_vector
from examples.tabletop.players import POLICIES, Policy, act_all
from examples.tabletop.tasks import kinds_named
from examples.tabletop.vector import VectorEnv
from fasttok.common.console import emit_json, progress, run, table, write_text
from fasttok.common.flags import OPTIONAL
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError, unknown_name

__all__ = ["POLICIES", "measure", "play"]

TABLES = 100  # most episodes that are played at once
FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class BaselineConfig:
    """Measures what to compare a trained robot with: an expert, one that takes the nearest block, and one that acts blindly.

    The command prints the shares of success, language following and shortcuts of each in the tabletop world.

    Example: python -m examples.tabletop.baselines --episodes 200
    """

    episodes: int = 200
    """Number of episodes for each policy, robot and split (and for each task, with --by-task)."""
    splits: tuple[str, ...] = ("seen", "uncorrelated", "unseen", "phrasings", "more_objects", "held_out")
    """Splits of the world to play (docs/world.md). a+b applies both."""
    policies: tuple[str, ...] = ("expert", "nearest", "blind")
    """Policies to measure. expert does what is asked; nearest does it with the block nearest to the hand;
    blind repeats demonstrations of other scenes."""
    embodiments: tuple[str, ...] = tuple(EMBODIMENTS)
    """Robots to measure."""
    by_task: bool = False
    """Count each kind of task on its own."""
    task: Annotated[str, OPTIONAL] = ""
    """Kinds of tasks, joined by +, such as reach or reach+push. By default all kinds.
    The blind robot repeats demonstrations of the same kinds."""
    correlation: Maybe[float] = None
    """Share of episodes in which the named block is also the one nearest to the hand; 0.9 by default.
    It does not change splits that set this share themselves, such as uncorrelated."""
    seed: int = FIRST_SEED
    """Seed of the first episode. By default the episodes are those of `fasttok-evaluate`."""
    json: bool = False
    """Print the results as JSON on stdout."""
    out: Maybe[Path] = None
    """JSON file for the results."""
    overwrite: bool = False
    """Replace the file --out."""


def play(env: VectorEnv, seeds: range, policy: Policy) -> dict[str, NDArray]:
    """Plays an episode on each table, as `train.evaluate` does.

    A robot stops when it has succeeded, when it has nothing more to do, or when the time is up.

    Args:
        env: the tables.
        seeds: one seed for each table.
        policy: the policy that acts.

    Returns:
        Result of `VectorEnv.info` at the end.
    """
    env.reset(seeds)
    acting = [policy(env, row, seed) for row, seed in enumerate(seeds)]
    active, actions = np.ones(len(env), bool), np.zeros((len(env), env.action_dim))
    for _ in range(env.max_steps):
        act_all(acting, active, actions)
        if not active.any():
            break
        env.step(actions, active)
        active &= ~env.success()
    return env.info()


def measure(
    policy: str,
    embodiment: str,
    split: str,
    task: str,
    episodes: int,
    seed: int = FIRST_SEED,
    correlation: float | None = None,
) -> dict[str, Any]:
    """Plays episodes, up to `TABLES` at a time and with progress on stderr, and returns the shares of successes and the like.

    Args:
        policy: one of `POLICIES`.
        embodiment: planar or arm.
        split: one of `scenes.SPLITS`; `a+b` applies both.
        task: kinds of tasks, such as "reach+push"; "": all kinds.
        episodes: number of episodes to play.
        seed: seed of the first episode.
        correlation: as in `make_vector`.

    Returns:
        A row with the keys policy, embodiment, split, task, episodes, and the shares success, followed and shortcut.

    Raises:
        InputError: there is no such policy, embodiment, split or task.
    """
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    played: dict[str, list[NDArray]] = {"success": [], "followed": [], "shortcut": []}
    with progress(" ".join(filter(None, (policy, embodiment, split, task))), episodes, "episodes") as advance:
        for first in range(0, episodes, TABLES):
            n = min(TABLES, episodes - first)
            info = play(
                make_vector(embodiment, split, n, task, correlation),
                range(seed + first, seed + first + n),
                POLICIES[policy],
            )
            for key, values in played.items():
                values.append(info[key])
            advance(n)
    what = {"policy": policy, "embodiment": embodiment, "split": split, "task": task or "all", "episodes": episodes}
    return what | {key: float(np.concatenate(values).mean()) for key, values in played.items()}


def main(config: BaselineConfig) -> None:
    """Plays all episodes, and prints or writes the results.

    Raises:
        InputError: there is no such policy, embodiment, split or task, or no episode to play, or --out may not be written.
    """
    if config.episodes < 1 or config.seed < 0:
        raise InputError(
            f"--episodes is {config.episodes} and --seed {config.seed}, expected at least 1, and at least 0"
        )
    if config.out is not None:
        check_output_file(config.out, overwrite=config.overwrite)
    rows = [
        measure(policy, embodiment, split, task, config.episodes, config.seed, config.correlation)
        for policy in dict.fromkeys(config.policies)
        for embodiment in dict.fromkeys(config.embodiments)
        for split in dict.fromkeys(config.splits)
        for task in (kinds_named(config.task) if config.by_task else (config.task,))
    ]
    if config.out is not None:
        write_text(config.out, json.dumps(rows, indent=2) + "\n")
    if config.json:
        emit_json(rows)
        return
    cells = [[f"{100 * cell:.1f} %" if isinstance(cell, float) else cell for cell in row.values()] for row in rows]
    table("baselines", list(rows[0]), cells)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BaselineConfig, prog="python -m examples.tabletop.baselines"))))
