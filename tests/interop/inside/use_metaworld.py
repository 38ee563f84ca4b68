"""Runs in the environment `metaworld`: all fifty tasks as tables, then the whole chain on one of them, as a user would type it.

use_metaworld.py CHECKOUT OUT
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np


def tables() -> dict[str, Any]:
    """Captions of all tasks, and which repeat themselves."""
    from examples.metaworld.questions import ask, caption
    from examples.metaworld.simulator import Simulation
    from examples.metaworld.tasks import TASKS

    found: dict[str, Any] = {"captions": {}, "repeats": []}
    for task in TASKS:
        simulation = Simulation(task)
        simulation.reset(7)
        first = simulation.observation.copy()
        for _ in range(10):
            simulation.step(simulation.expert())
        moved = simulation.observation.copy()
        found["captions"][task] = caption(simulation.scene())
        ask(simulation.scene(), np.random.default_rng(0))
        simulation.reset(8)
        assert not np.array_equal(simulation.observation, first), f"{task}: another seed is another table"
        simulation.step(np.ones(4))
        simulation.reset(7)
        for _ in range(10):
            simulation.step(simulation.expert())
        if np.array_equal(simulation.observation, moved):
            found["repeats"].append(task)
    return found


def told_by_scatter(tables: int = 60) -> float:
    """Largest correlation of how the hand is scattered with where the drawer stands, over layouts of training."""
    from examples.metaworld.generate import first_seed
    from examples.metaworld.recorder import beside_the_table, scattered
    from examples.metaworld.simulator import Simulation
    from examples.metaworld.tasks import TASKS

    class Moves:
        """Keeps the steps that it is told to take."""

        def __init__(self) -> None:
            self.taken = [np.zeros(4)]

        def step(self, action: np.ndarray) -> None:
            self.taken.append(action)

    simulation, drawn, moved = Simulation("drawer-open"), [], []
    for seed in range(first_seed(0, 0), first_seed(0, 0) + tables):
        rng, moves = beside_the_table(seed), Moves()
        rng.integers(len(TASKS["drawer-open"].phrases))
        scattered(cast(Any, moves), rng, 10)
        simulation.reset(seed)
        drawn.append(simulation.position(TASKS["drawer-open"].things[0])[0])
        moved.append([*moves.taken[-1][:3], len(moves.taken)])
    return float(np.abs(np.corrcoef(drawn, np.array(moved).T)[0, 1:]).max())


def expert() -> dict[str, bool]:
    """Whether the expert succeeds through the environment, by task."""
    from examples.metaworld.env import make
    from examples.metaworld.robot import SIZE
    from examples.metaworld.tasks import TASKS

    found = {}
    env = make(split="reach+push")
    for seed in (1_000_000, 1_000_001):
        seen = env.reset(seed)
        task = env.info()["task"]
        assert env.instruction in TASKS[task].phrases
        assert {name: seen[name].shape for name in seen} == {
            "image/primary": (SIZE, SIZE, 3), "image/wrist": (SIZE, SIZE, 3), "state": (4,),
        }  # fmt: skip
        picture = seen["image/primary"]
        assert picture.std() > 20, "a picture, not an empty frame"
        while not env.success() and env.info()["steps"] < env.max_steps:
            seen = env.step(env.expert())
        found[task] = bool(env.success())
        assert not np.array_equal(seen["image/primary"], picture)
        again = env.reset(seed)
        assert np.array_equal(again["image/primary"], picture), "the same seed gives the same pictures"
    return found


def chain(checkout: Path, out: Path) -> str:
    """Runs the chain twice; what the second one says, which has nothing left to do."""
    command = [
        sys.executable, "-m", "examples.metaworld.run", "--out", str(out), "--tasks", "reach", "--episodes", "2",
        "--vqa", "10", "--captions", "10",
        "--samples", "60", "--steps", "3", "--batch-size", "4", "--eval-episodes", "2",
    ]  # fmt: skip
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


if __name__ == "__main__":
    checkout, out = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path.insert(0, str(checkout))
    found = {**tables(), "expert": expert(), "told": told_by_scatter(), "said": chain(checkout, out / "chain")}
    (out / "found.json").write_text(json.dumps(found))
