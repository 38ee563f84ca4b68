"""Simulates in processes of its own: TensorFlow, which writes the datasets, and Mesa, which draws, end one another's process.

Both bring a copy of LLVM, and with both in one process the first picture is a segmentation fault. So workers simulate and draw,
and never import TensorFlow; episodes come back in the order of their seeds, however many workers there are.
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

LONGEST_LOOK = 120  # steps of an expert that are looked at for questions
# The simulator draws a table from the stream of its seed alone; any other draw from that stream would tell where things stand.
STREAM = 1
T = TypeVar("T")


class Recorder:
    """Runs one function for seed after seed in worker processes, a few seeds ahead of who takes the results."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool, self._ahead = pool, workers + 1

    def each(self, work: Callable[..., T], seed: int, *words: Any) -> Generator[T, None, None]:
        """`work(seed, *words)`, `work(seed + 1, *words)` and so on, without end.

        Raises:
            InputError: a worker's; or one ended without a word.
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
    """Workers for as long as the context lasts.

    Args:
        workers: processes, each with some 300 MB and 100 MB more for each task.
    """
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield Recorder(pool, workers)


def beside_the_table(seed: int) -> np.random.Generator:
    """Random numbers of an episode that say nothing of its table, which the simulator draws from the same seed."""
    return np.random.default_rng([STREAM, seed])


def demonstrate(seed: int, task: str, scatter: int = 0) -> Demonstration | None:
    """One episode by the expert, up to its first moment of success; None where it has none.

    Args:
        seed: of the layout, the sentence and the scatter.
        task: its name.
        scatter: most steps of random motion before the recording.

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
    """Some moments of an expert's episode, each with a question or a caption.

    Args:
        seed: of the task, the layout, the moments and the questions.
        tasks: of which one is drawn.
        scatter: most steps of random motion before.
        ask: questions; else captions.

    Returns:
        Pictures of the primary camera, and the fields of their lines.
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
    """Moves the open hand in one direction, for up to `most` steps."""
    direction = np.append(rng.uniform(-1, 1, 3), -1.0)
    for _ in range(rng.integers(most + 1)):
        simulation.step(direction)


@cache
def _simulation(task: str) -> Simulation:
    """One of each task in a process."""
    return Simulation(task)
