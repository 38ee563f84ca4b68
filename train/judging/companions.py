"""Plays a policy's episodes with its companions, if the environment offers them: an expert, and one that acts blindly.

An environment offers companions by methods, which are called before each step:

    Env.expert() -> (D,)                 next action of an expert, which may read the world's state; None: nothing more to do
    Env.blind() -> (D,)                  next action of one that sees nothing of this scene; for instance, it repeats the
                                         expert's actions of another scene
    ManyEnvs.expert(active) -> (N, D)    the same for all N episodes; `active` (N,) says which go on; NaN: nothing more to do
    ManyEnvs.blind(active) -> (N, D)

Episodes that are not active must not advance. If a companion has nothing more to do, its episode ends.
`examples/tabletop/vector.py` has both companions.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import progress
from fasttok.errors import InputError
from train.judging.chosen_films import SmallFilms
from train.rollouts import EnvFactory, ManyEnvs, SteppedEnvs, open_envs

Companion = Literal["expert", "blind"]
COMPANIONS: tuple[Companion, ...] = get_args(Companion)


@dataclass(frozen=True)
class CompanionResult:
    """Results of a companion on the seeds that the policy played.

    Attributes:
        who: companion that acted.
        embodiment: embodiment with which it acted.
        split: split of the environment.
        success: success of each episode, 0 or 1, in the order of the seeds.
    """

    who: Companion
    embodiment: str
    split: str
    success: tuple[int, ...]


def offered(factory: EnvFactory, embodiment: str, split: str) -> list[Companion]:
    """Returns the companions that an environment offers."""
    with ExitStack() as held:
        envs = open_envs(factory, embodiment, split, 1)
        held.callback(getattr(envs, "close", lambda: None))
        each: list[Any] = [*envs.envs] if isinstance(envs, SteppedEnvs) else [envs]
        return [who for who in COMPANIONS if all(callable(getattr(env, who, None)) for env in each)]


def play_companion(
    who: Companion,
    factory: EnvFactory,
    embodiment: str,
    split: str,
    seeds: range,
    batch: int,
    films: SmallFilms,
) -> CompanionResult:
    """Plays one episode per seed, `batch` of them side by side, as `train.rollouts.closed_loop` does for a policy.

    Args:
        who: companion that acts.
        factory: factory of environments that offer this companion.
        embodiment: passed to the factory.
        split: passed to the factory.
        seeds: seeds of the episodes.
        batch: number of episodes side by side.
        films: films the episodes.

    Raises:
        InputError: the environment does not give one action per episode.
    """
    success: list[int] = []
    with progress(f"{embodiment}, {split}: {who}", len(seeds), "episodes") as advance, ExitStack() as held:
        for first in range(0, len(seeds), batch):
            chosen = seeds[first : first + batch]
            envs = open_envs(factory, embodiment, split, len(chosen))
            held.callback(getattr(envs, "close", lambda: None))
            seen, tasks = envs.reset(chosen), list(envs.instructions)
            active, taken = np.ones(len(chosen), bool), 0
            films.begin(chosen)
            films.record(0, seen, active, ~active)
            while taken < envs.max_steps and active.any():
                actions = next_actions(envs, who, active)
                idle = active & ~np.isfinite(actions).all(1)
                films.record(taken, seen, np.zeros_like(active), idle)
                active = active & ~idle
                if not active.any():
                    break
                seen, before, taken = envs.step(np.where(active[:, None], actions, 0), active), active, taken + 1
                active = before & ~np.asarray(envs.success()) & (taken < envs.max_steps)
                films.record(taken, seen, active, before & ~active)
            done = np.asarray(envs.success())
            films.end(tasks, done)
            success += [int(value) for value in done]
            held.close()
            advance(len(chosen))
    return CompanionResult(who, embodiment, split, tuple(success))


def next_actions(envs: ManyEnvs, who: Companion, active: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the next action of a companion in each episode, (N, D); rows of NaN if it has nothing more to do.

    Raises:
        InputError: the environment does not give one action per episode.
    """
    if not isinstance(envs, SteppedEnvs):
        actions = np.asarray(getattr(envs, who)(active), np.float64)
        if actions.ndim != 2 or len(actions) != len(active):
            raise InputError(
                f"{type(envs).__name__}.{who} gave an array of shape {actions.shape}; expected ({len(active)}, D), an action for "
                "each episode, NaN where there is nothing more to do"
            )
        return actions
    given = [getattr(env, who)() if acts else None for env, acts in zip(envs.envs, active, strict=True)]
    rows = [None if action is None else np.asarray(action, np.float64) for action in given]
    shapes = {row.shape for row in rows if row is not None} or {(1,)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise InputError(
            f"{type(envs.envs[0]).__name__}.{who} gave actions of shape {', '.join(map(str, sorted(shapes)))}; expected (D,), or "
            "None if there is nothing more to do"
        )
    nothing = np.full(next(iter(shapes)), np.nan)
    return np.stack([nothing if row is None else row for row in rows])
