"""`python -m benchmarks.metaworld`: the chain on MetaWorld, small; and how fast the world is drawn and simulated here.

It shows that the chain works, from scripted experts to a policy that acts; it compares no recipes.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import about
from examples.metaworld.run import MARKER, MetaWorldRun
from examples.metaworld.run import main as run_chain
from examples.metaworld.simulator import Simulation
from fasttok.common.console import run
from train.judging.wilson import percent
from train.worlds.rendering import VARIABLE

REPEATS, INSIDE = 5, 10  # the median of so many means over so many calls
NOTE = (
    "It shows that the chain works from a scripted expert to a policy that acts; it compares no recipes, and its run is small. "
    "Success is the package's own, of episodes on layouts that no demonstration has; brackets are 95 % Wilson intervals. The "
    "expert reads the simulator's state; the blind robot replays the mean of 20 demonstrations of the task without looking."
)


@dataclass(frozen=True)
class MetaWorldBenchmark:
    """Runs the chain, or takes a finished one, times the world, and writes benchmarks/results/metaworld.json and .md.

    Example: python -m benchmarks.metaworld --chain metaworld
    """

    chain: Path = Path("metaworld")
    """Folder of `python -m examples.metaworld.run`; an unfinished chain in it goes on."""
    steps: int = MetaWorldRun.steps
    """Training steps."""
    eval_episodes: int = MetaWorldRun.eval_episodes
    """Closed-loop episodes of each task and policy."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of a call: the median of means."""
    found = []
    work()
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(INSIDE):
            work()
        found.append(1000 * (time.process_time() - began) / INSIDE)
    return float(np.median(found))


def speed(task: str) -> dict[str, Any]:
    """What a picture, a control step and a reset cost, in CPU time: the machine's other work does not count."""
    simulation = Simulation(task)
    simulation.reset(0)
    return {
        "task": task,
        "primary picture, ms": cpu_ms(lambda: simulation.picture("primary")),
        "wrist picture, ms": cpu_ms(lambda: simulation.picture("wrist")),
        "expert and step, ms": cpu_ms(lambda: simulation.step(simulation.expert())),
        "reset, ms": cpu_ms(lambda: simulation.reset(0)),
    }


def main(config: MetaWorldBenchmark) -> None:
    """Runs, times and writes.

    Raises:
        InputError: MetaWorld is missing or cannot draw, or a step of the chain failed.
    """
    settings = MetaWorldRun(config.chain, steps=config.steps, eval_episodes=config.eval_episodes)
    rows = run_chain(settings)
    chain = json.loads((config.chain / MARKER).read_text("utf-8"))
    answers = json.loads((config.chain / "eval.json").read_text("utf-8"))["vqa"]
    asked = answers["questions"]
    last = json.loads((config.chain / "ki" / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    about.write(
        config.out,
        "metaworld",
        "MetaWorld: expert, blind, and one small run",
        f"python -m benchmarks.metaworld --steps {config.steps} --eval-episodes {config.eval_episodes}",
        {
            "Success": [{key: row[key] for key in ("task", "policy", "episodes", "success")} for row in rows],
            "Questions about pictures of other layouts": [
                {
                    "questions": asked,
                    "exact match": percent(round(answers["accuracy"] * asked), asked),
                    "most common answer of the question's kind": percent(round(answers["baseline"] * asked), asked),
                }
            ],
            "The run": [
                {
                    "demonstrations a task": settings.episodes,
                    "samples": settings.samples,
                    "steps": settings.steps,
                    "batch": settings.batch_size,
                    "L_VLM": last["ce_vlm"],
                    "L_FAST": last["ce_fast"],
                    "L_FLOW": last["loss_flow"],
                }
            ],
            "Seconds of each command, beside other work on the machine": [
                {"step": step["title"], "seconds": step["seconds"]} for step in chain["steps"]
            ],
            f"CPU time of the world, {VARIABLE}={os.environ.get(VARIABLE)}, pictures of 128 px": [
                speed(task) for task in settings.tasks
            ],
        },
        note=NOTE,
        more=("metaworld", "mujoco", "gymnasium"),
    )


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(MetaWorldBenchmark, prog="python -m benchmarks.metaworld"))))
