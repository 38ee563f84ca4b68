"""Closed loop: a policy acts in many environments side by side, and what comes of it is counted."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import progress
from fasttok.errors import InputError
from train.user_modules import load_attribute

Observation = Mapping[str, NDArray]
Act = Callable[
    [list[str], list[Observation]], NDArray
]  # instructions, observations -> chunks (n, horizon, D) in raw units
FRAME_EVERY = 3  # steps between the frames of a film


class Env(Protocol):
    """What an environment is to the evaluation; a factory is `make(embodiment=..., split=...) -> Env`.

    Two more methods are used where they are there: `followed() -> bool`, whether the behaviour concerned the object that the
    instruction names, and `info() -> dict`, of which "shortcut" (bool) and "task" (str) are reported.
    """

    max_steps: int
    instruction: str

    def reset(self, seed: int) -> Observation:
        """Starts an episode: {"image/<slot>": (h, w, 3) uint8, "state": (S,) float32 raw units}."""
        ...

    def step(self, action: NDArray) -> Observation:
        """Takes one action (D,) in raw units."""
        ...

    def success(self) -> bool:
        """Whether the instruction is fulfilled."""
        ...


class Group:
    """Single environments, stepped one after the other, as a factory of vectors (`make(..., n=)`) would step them at once."""

    def __init__(self, envs: Sequence[Any]) -> None:
        self.envs = list(envs)
        self.max_steps = envs[0].max_steps
        self.seen: list[Observation] = []

    @property
    def instructions(self) -> list[str]:
        """What is asked of each."""
        return [env.instruction for env in self.envs]

    def reset(self, seeds: Sequence[int]) -> dict[str, NDArray]:
        """New episodes; what all see, (N, ...) each."""
        self.seen = [env.reset(seed) for env, seed in zip(self.envs, seeds, strict=True)]
        return self._stacked()

    def step(self, actions: NDArray, active: NDArray) -> dict[str, NDArray]:
        """A step of those that are active."""
        for i in np.flatnonzero(active):
            self.seen[i] = self.envs[i].step(actions[i])
        return self._stacked()

    def success(self) -> NDArray[np.bool_]:
        """(N,)"""
        return np.array([bool(env.success()) for env in self.envs])

    def info(self) -> dict[str, NDArray]:
        """Of the current episodes, (N,) each: what the environments tell."""
        told = [dict(env.info()) if hasattr(env, "info") else {} for env in self.envs]
        out = {key: np.array([t[key] for t in told]) for key in ("task", "shortcut") if all(key in t for t in told)}
        if all(hasattr(env, "followed") for env in self.envs):
            out["followed"] = np.array([bool(env.followed()) for env in self.envs])
        return out

    def _stacked(self) -> dict[str, NDArray]:
        return {name: np.stack([o[name] for o in self.seen]) for name in self.seen[0]}


@dataclass
class Episodes:
    """What came of some episodes, one entry each; a list is empty where the environment does not tell."""

    success: list[bool] = field(default_factory=list)
    followed: list[bool] = field(default_factory=list)
    shortcut: list[bool] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    seconds: float = 0.0
    predictions: int = 0

    def to_json(self) -> dict[str, Any]:
        """Shares, and the episodes one by one (0 or 1), so that they can be compared in pairs."""
        told = {n: getattr(self, n) for n in ("success", "followed", "shortcut") if getattr(self, n)}
        shares = {name: float(np.mean(values)) for name, values in told.items()}
        each = {name: [int(v) for v in values] for name, values in told.items()}
        out: dict[str, Any] = {"episodes": len(self.success), **shares, "each": each}
        if self.task:
            out["task"] = self.task
        return out | {"ms_per_prediction": 1000 * self.seconds / max(self.predictions, 1)}


@dataclass(frozen=True, eq=False)
class Film:
    """One episode to look at: frames (n, h, w, 3) uint8 of the first camera, and the step (n,) of each."""

    instruction: str
    success: bool
    seed: int
    frames: NDArray[np.uint8]
    steps: NDArray[np.int64]


class Reels:
    """The frames of some episodes, taken while they are played: every third step, and the end."""

    def __init__(self, count: int) -> None:
        self.frames: list[list[NDArray]] = [[] for _ in range(count)]
        self.steps: list[list[int]] = [[] for _ in range(count)]

    def expose(self, step: int, seen: Observation, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes a frame of episodes that act, when it is time, and of those that ended with this step."""
        rows = [i for i in range(len(self.frames)) if (active[i] and step % FRAME_EVERY == 0) or ended[i]]
        if rows:
            pictures = seen[next(name for name in seen if name.startswith("image/"))]
            for i in rows:
                self.frames[i].append(np.asarray(pictures[i]))
                self.steps[i].append(step)

    def films(self, tasks: Sequence[str], success: NDArray[np.bool_], seeds: range) -> list[Film]:
        """What was taken."""
        return [
            Film(tasks[i], bool(success[i]), seeds[i], np.stack(frames), np.array(self.steps[i]))
            for i, frames in enumerate(self.frames)
        ]


def load_factory(name: str) -> Any:
    """The factory named module:attribute.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return load_attribute(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--env {name!r}: {error}; expected module:factory, such as examples.tabletop.env:make_vector"
        ) from None


def open_envs(factory: Any, embodiment: str, split: str, n: int) -> Any:
    """`n` environments as one: the factory's own vector where it takes `n`, else a Group.

    Raises:
        TypeError: the factory takes neither.
    """
    if "n" in inspect.signature(factory).parameters:
        return factory(embodiment=embodiment, split=split, n=n)
    return Group([factory(embodiment=embodiment, split=split) for _ in range(n)])


def closed_loop(
    act: Act, factory: Any, embodiment: str, split: str, seeds: range, *, execute: int, batch: int = 20, films: int = 0
) -> tuple[Episodes, list[Film]]:
    """One episode per seed, `batch` of them side by side. An episode ends with its success, or with its time.

    Args:
        execute: steps of each predicted chunk that are taken before the next prediction.
        films: how many of the first episodes to film.

    Returns:
        What came of them, in the order of the seeds, and the films.

    Raises:
        ValueError: the environment's, of an action that it refuses.
    """
    out, shown = Episodes(), []
    with progress(f"{embodiment}, {split}", len(seeds), "episodes") as advance:
        for first in range(0, len(seeds), batch):
            part = seeds[first : first + batch]
            envs = open_envs(factory, embodiment, split, len(part))
            seen, tasks = envs.reset(part), list(envs.instructions)
            reels = Reels(min(len(part), max(0, films - first)))
            active, taken = np.ones(len(part), bool), 0
            reels.expose(0, seen, active, ~active)
            while taken < envs.max_steps and active.any():
                rows, began = np.flatnonzero(active), time.monotonic()
                chunks = act([tasks[i] for i in rows], [{name: seen[name][i] for name in seen} for i in rows])
                out.seconds, out.predictions = out.seconds + time.monotonic() - began, out.predictions + 1
                actions = np.zeros((len(part), *chunks.shape[1:]), chunks.dtype)
                actions[rows] = chunks
                for k in range(min(execute, envs.max_steps - taken)):
                    seen, before, taken = envs.step(actions[:, k], active), active, taken + 1
                    active = before & ~np.asarray(envs.success()) & (taken < envs.max_steps)
                    reels.expose(taken, seen, active, before & ~active)
                    if not active.any():
                        break
            info, success = envs.info(), np.asarray(envs.success())
            out.success += success.tolist()
            for name in ("followed", "shortcut", "task"):
                getattr(out, name).extend(np.asarray(info[name]).tolist() if name in info else [])
            shown += reels.films(tasks, success, part)
            advance(len(part))
    return out, shown


def play(
    player: Any,
    factory: Any,
    embodiment: str,
    split: str,
    seeds: range,
    *,
    decode: str,
    execute: float,
    batch: int,
    films: int,
) -> tuple[dict[str, Any], list[Film]]:
    """`closed_loop` of a loaded run (`train.player.Player`), as plain values.

    Args:
        execute: share of each predicted chunk that is carried out before the next prediction.
    """
    steps = max(1, round(execute * player.horizon(embodiment)))
    act = partial(player.act, embodiment, decode=decode)
    done, shown = closed_loop(act, factory, embodiment, split, seeds, execute=steps, batch=batch, films=films)
    return {"embodiment": embodiment, "split": split, **done.to_json()}, shown
