"""What a trained robot is compared with: the expert, and one that acts without looking.

    python -m examples.tabletop.baselines --episodes 200

The blind one replays demonstrations of other scenes, one after the other, until the time is up.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import Env, make
from examples.tabletop.expert import Expert
from fasttok.console import emit_json, progress, run, table

OTHER_SCENES = 1 << 24  # seeds that no evaluation uses


@dataclass(frozen=True)
class BaselineConfig:
    """Success and language following of the expert and of acting blindly.

    Example: python -m examples.tabletop.baselines --episodes 200
    """

    episodes: int = 200
    """Episodes per embodiment and split."""
    splits: tuple[str, ...] = ("seen", "held_out")
    """Splits of the world."""
    seed: int = 1_000_000
    """Seed of the first episode: by default those of `python -m train.evaluate`."""
    json: bool = False
    """Print JSON on stdout."""


def without_pictures(embodiment: str, split: str) -> Env:
    """An environment whose observations are empty: nobody here looks at them."""
    env = make(embodiment, split)
    env.observe = dict  # type: ignore[method-assign]
    return env


def expert(env: Env, seed: int) -> Iterator[NDArray]:
    """What the expert does in this scene."""
    acting = Expert(env.world, env.task, env.robot, np.random.default_rng(seed))
    while (action := acting.act()) is not None:
        yield action


def blind(env: Env, seed: int) -> Iterator[NDArray]:
    """What the expert does in other scenes."""
    number = OTHER_SCENES + 100 * seed
    while True:
        other = without_pictures(env.embodiment, "seen")
        other.reset(number)
        for action in expert(other, number):
            other.step(action)
            yield action
        number += 1


def play(env: Env, seed: int, policy: Callable[[Env, int], Iterator[NDArray]]) -> tuple[bool, bool]:
    """One episode: (success, followed)."""
    env.reset(seed)
    for _, action in zip(range(env.max_steps), policy(env, seed), strict=False):
        env.step(action)
        if env.success():
            break
    return env.success(), env.followed()


def main(config: BaselineConfig) -> None:
    """Plays and prints."""
    rows = []
    for name, policy in (("expert", expert), ("blind", blind)):
        for embodiment in EMBODIMENTS:
            for split in config.splits:
                with progress(f"{name}, {embodiment}, {split}", config.episodes, "episodes") as advance:
                    played = []
                    for seed in range(config.seed, config.seed + config.episodes):
                        played.append(play(without_pictures(embodiment, split), seed, policy))
                        advance()
                success, followed = np.mean(played, axis=0)
                rows.append({"policy": name, "embodiment": embodiment, "split": split, "episodes": config.episodes,
                             "success": float(success), "followed": float(followed)})  # fmt: skip
    if config.json:
        emit_json(rows)
    else:
        cells = [[*list(r.values())[:4], f"{100 * r['success']:.0f} %", f"{100 * r['followed']:.0f} %"] for r in rows]  # type: ignore[operator]
        table("baselines", list(rows[0]), cells)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BaselineConfig, prog="python -m examples.tabletop.baselines"))))
