"""Simulates and draws in worker processes, because Mesa, which draws, and TensorFlow, which writes, cannot share a process.

Both bring a copy of LLVM, and with both in one process the first picture ends in a segmentation fault. So workers simulate and
draw, and never import TensorFlow. Episodes come back in the order of their seeds, whatever the number of workers.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any, TypeVar

import numpy as np

from examples.metaworld import questions
from examples.metaworld.robot import CAMERAS, FEATURES, MAX_STEPS, known_to_robot
from examples.metaworld.simulator import Simulation
from examples.metaworld.tasks import TASKS
from examples.rlds_writer import Demonstration, step_fields
from examples.web_data import Record
from fasttok.errors import InputError

LONGEST_LOOK = 120  # questions and captions are about an expert's first steps, up to this one
# The simulator draws the layout of a table from the stream of the seed alone. Our own draws use another stream: draws from the
# same one would be correlated with the layout.
STREAM = 1
T = TypeVar("T")


class Recorder:
    """Runs a function for one seed after the other in worker processes, a few seeds ahead of the caller."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool, self._ahead = pool, workers + 1

    def each(self, work: Callable[..., T], seed: int, *words: Any) -> Generator[T, None, None]:
        """Yields `work(seed, *words)`, `work(seed + 1, *words)` and so on, without end.

        Raises:
            InputError: a worker raised it, or a worker ended without a message.
        """
        seeds, running = count(seed), deque[Future[T]]()
        try:
            while True:
                while len(running) < self._ahead:
                    running.append(self._pool.submit(work, next(seeds), *words))
                yield running.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                "a process that simulates MetaWorld ended without a word, perhaps for want of memory; try --workers 1"
            ) from None
        finally:
            for future in running:
                future.cancel()


@contextmanager
def recorder(workers: int) -> Iterator[Recorder]:
    """A context with worker processes.

    Args:
        workers: number of processes. Each needs some 300 MB, and 100 MB more for each task.
    """
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield Recorder(pool, workers)


def beside_the_table(seed: int) -> np.random.Generator:
    """Returns a generator for an episode's own draws, independent of its table, which the simulator draws from the same seed."""
    return np.random.default_rng([STREAM, seed])


def demonstrate(seed: int, task: str, scatter: int = 0) -> Demonstration | None:
    """Records one episode of the expert up to its first success; None if it does not succeed.

    Args:
        seed: seed of the layout, the sentence and the scatter.
        task: name of the task.
        scatter: maximum number of steps of random motion before the recording.

    Returns:
        {"steps": T dicts, "episode_metadata": dict}; actions as the simulator takes them, in [-1, 1].
    """
    rng, simulation = beside_the_table(seed), _simulation(task)
    phrases = TASKS[task].phrases
    sentence = phrases[rng.integers(len(phrases))]
    simulation.reset(seed)
    scattered(simulation, rng, scatter)
    seen, actions = [], []
    while not simulation.success and simulation.steps < MAX_STEPS:
        pictures = {FEATURES[slot]: simulation.picture(slot) for slot in CAMERAS}
        seen.append({**pictures, "state": known_to_robot(simulation.observation)})
        actions.append(simulation.expert())
        simulation.step(actions[-1])
    if not simulation.success or not actions:
        return None
    last = len(actions) - 1
    steps = [
        {"observation": seen[t], "action": action, "language_instruction": sentence, **step_fields(t, last)}
        for t, action in enumerate(actions)
    ]
    return {
        "steps": steps,
        "episode_metadata": {"episode_id": f"{task}-{seed}", "seed": seed, "task": task, "success": True},
    }


def look(seed: int, tasks: tuple[str, ...], scatter: int, ask: bool) -> list[Record]:
    """Records some moments of an expert's episode, each with a question or a caption.

    Args:
        seed: seed of the task, the layout, the moments and the questions.
        tasks: names of tasks, from which one is drawn.
        scatter: maximum number of steps of random motion before the first moment.
        ask: True for questions, False for captions.

    Returns:
        Pictures of the primary camera, each with the fields of its line.
    """
    rng = beside_the_table(seed)
    simulation = _simulation(tasks[rng.integers(len(tasks))])
    found: list[Record] = []
    simulation.reset(seed)
    scattered(simulation, rng, scatter)
    while not simulation.success and simulation.steps <= LONGEST_LOOK:
        scene, picture = simulation.scene(), simulation.picture("primary")
        fields = {"task": scene.task}
        if ask:
            question = questions.ask(scene, rng)
            fields |= {"kind": question.kind, "question": question.prompt, "answer": question.target}
        else:
            fields["caption"] = questions.caption(scene)
        found.append((picture, fields))
        for _ in range(rng.integers(5, 25)):
            simulation.step(simulation.expert())
    return found


def scattered(simulation: Simulation, rng: np.random.Generator, most: int) -> None:
    """Moves the open hand in one random direction, for up to `most` steps."""
    direction = np.append(rng.uniform(-1, 1, 3), -1.0)
    for _ in range(rng.integers(most + 1)):
        simulation.step(direction)


@cache
def _simulation(task: str) -> Simulation:
    """Returns the process's only simulation of a task."""
    return Simulation(task)
