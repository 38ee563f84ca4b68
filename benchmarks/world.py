"""`python -m benchmarks.world`: how fast the tabletop world is, and what the expert and two shortcuts achieve in it.

Steps are of random hands that go from block to block, opening and closing, so that they push, carry and collide.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import about
from examples.tabletop.baselines import POLICIES, measure
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make_vector
from examples.tabletop.tasks import KINDS
from examples.tabletop.vector import VectorEnv
from fasttok.common.console import run, table

REPEATS = 3  # the median counts
SPLITS_MEASURED = ("seen", "uncorrelated", "unseen", "phrasings", "more_objects", "held_out", "held_out+uncorrelated")


@dataclass(frozen=True)
class WorldConfig:
    """Times resets, steps and pictures, plays the baselines, and writes benchmarks/results/world.json and .md.

    Example: python -m benchmarks.world --episodes 200
    """

    tables: tuple[int, ...] = (1, 16, 256, 1024)
    """Tables side by side."""
    steps: int = 100
    """Steps of a timing."""
    episodes: int = 200
    """Episodes per policy, embodiment and split; of the expert also per task."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def hands(env: VectorEnv, steps: int) -> list[np.ndarray]:
    """Actions (N, D) that keep going to blocks, and leave the environment where they led."""
    rng, n, found = np.random.default_rng(0), len(env), []
    for step in range(steps):
        if step % 8 == 0:
            block, opening = rng.integers(0, env.tables.count), rng.integers(0, 2, n)
        actions = np.zeros((n, env.action_dim))
        actions[:, :2] = env.tables.positions[np.arange(n), block]
        if env.embodiment == "planar":
            actions[:, :2] -= env.tables.hand
        actions[:, -1] = opening
        env.step(actions)
        found.append(actions)
    return found


def speed(embodiment: str, n: int, steps: int) -> dict[str, Any]:
    """Robots' resets and steps a second, without and with pictures of all cameras at every step."""
    env = make_vector(embodiment, "seen", n)
    seconds: dict[str, list[float]] = {"reset": [], "step": [], "render": []}
    rendered = max(2, min(steps, 3000 // n))
    for _ in range(REPEATS):
        began = time.perf_counter()
        env.reset(range(n))
        seconds["reset"].append(time.perf_counter() - began)
        actions = hands(env, steps)
        env.reset(range(n))
        began = time.perf_counter()
        for action in actions:
            env.step(action)
        seconds["step"].append((time.perf_counter() - began) / steps)
        env.reset(range(n))
        began = time.perf_counter()
        for action in actions[:rendered]:
            dict(env.step(action))
        seconds["render"].append((time.perf_counter() - began) / rendered)
    rate = {name: n / float(np.median(values)) for name, values in seconds.items()}
    return {
        "embodiment": embodiment,
        "cameras": len(EMBODIMENTS[embodiment].cameras),
        "tables": n,
        "resets/s": rate["reset"],
        "steps/s": rate["step"],
        "steps/s with pictures": rate["render"],
    }


def main(config: WorldConfig) -> None:
    """Measures and writes."""
    speeds = [speed(embodiment, n, config.steps) for embodiment in EMBODIMENTS for n in config.tables]
    table("speed", list(speeds[0]), [list(row.values()) for row in speeds])
    played = [
        percent(measure(name, embodiment, split, "", config.episodes))
        for name in POLICIES
        for embodiment in EMBODIMENTS
        for split in SPLITS_MEASURED
    ]
    table("baselines", list(played[0]), [list(row.values()) for row in played])
    expert = []
    for embodiment in EMBODIMENTS:
        for split in SPLITS_MEASURED:
            found = {task: measure("expert", embodiment, split, task, config.episodes) for task in KINDS}
            expert.append(
                {"embodiment": embodiment, "split": split, "episodes a task": config.episodes}
                | {task: f"{100 * row['success']:.1f} %" for task, row in found.items()}
                | {"followed, least": f"{100 * min(row['followed'] for row in found.values()):.1f} %"}
            )
    table("the expert's success", list(expert[0]), [list(row.values()) for row in expert])
    tables = {"Speed": speeds, "Baselines": played, "The expert's success by task": expert}
    about.write(
        config.out, "world", "The tabletop world", f"python -m benchmarks.world --episodes {config.episodes}", tables
    )


def percent(row: dict[str, Any]) -> dict[str, Any]:
    """Shares as text."""
    return {key: f"{100 * value:.1f} %" if isinstance(value, float) else value for key, value in row.items()}


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(WorldConfig))))
