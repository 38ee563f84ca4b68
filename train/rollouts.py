"""Closed loop: a policy acts in many environments side by side, and what comes of it is counted."""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import progress
from fasttok.errors import InputError
from train.acting.subtasks import Act, Conversation, InRealTime, SayThenAct, Seen
from train.judging.chosen_films import BothFilms, EpisodeFilms, FirstFilms
from train.judging.film_recorder import Film as Film
from train.judging.measurements import Decoding, Share, WorldResult
from train.user_modules import load_attribute, where_examples_are
from train.worlds.world_file import is_world_file, load_world

Observation = Seen
EnvFactory = Callable[..., Any]
"""`make(embodiment=, split=) -> Env`, or `make(embodiment=, split=, n=) -> ManyEnvs`."""


class Env(Protocol):
    """What an environment is to the evaluation; a factory is `make(embodiment=..., split=...) -> Env`.

    Five more methods are used where they are there: `followed() -> bool`, whether the behaviour concerned the object that the
    instruction names; `info() -> dict`, of which "shortcut" (bool) and "task" (str) are reported; `expert()` and `blind()`, what
    the policy is compared with (`train.judging.companions`); and `close()`, which is called when its episodes are done. A factory
    may have an attribute `splits`, the names of those that it knows.
    """

    max_steps: int
    instruction: str

    def reset(self, seed: int) -> Observation:
        """Starts an episode: {"image/<slot>": (h, w, 3) uint8, "state": (S,) float32 raw units}."""
        ...

    def step(self, action: NDArray[Any]) -> Observation:
        """Takes one action (D,) in raw units."""
        ...

    def success(self) -> bool:
        """Whether the instruction is fulfilled."""
        ...


class ChunkPolicy(Protocol):
    """What a loaded run (`train.player.Player`) is to the evaluation."""

    def horizon(self, embodiment: str) -> int:
        """Steps of an embodiment's chunk."""
        ...

    def act(
        self,
        embodiment: str,
        tasks: list[str],
        observations: list[Observation],
        decode: Decoding = "flow",
        *,
        prefix: list[NDArray[Any]] | None = None,
        delay: int = 0,
        subtasks: list[str] | None = None,
    ) -> NDArray[Any]:
        """Chunks (n, horizon, D) in raw units for n instructions and observations, as `train.player.Player.act`."""
        ...

    def say(self, embodiment: str, tasks: list[str], observations: list[Observation]) -> list[str]:
        """Subtasks for n instructions and observations; only runs that were trained to have any."""
        ...


@dataclass(frozen=True)
class RolloutOptions:
    """How a run is played in a world.

    Attributes:
        decode: how actions are predicted.
        execute: share of each predicted chunk that is carried out before the next prediction.
        batch: episodes side by side.
        films: how many of the first episodes to film.
        subtasks: chunks for which a subtask is kept that the run says before it acts; 0: it says none.
        delay: steps that pass while a chunk is computed, during which the last one is executed; 0: the world waits.
    """

    decode: Decoding = "flow"
    execute: float = 0.5
    batch: int = 20
    films: int = 0
    subtasks: int = 0
    delay: int = 0


class ManyEnvs(Protocol):
    """Several environments that are stepped at once; a factory that takes `n` is `make(embodiment=..., split=..., n=...)`.

    Attributes:
        max_steps: steps after which an episode ends.
    """

    max_steps: int

    @property
    def instructions(self) -> Sequence[str]:
        """What is asked of each, (N,)."""
        ...

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Starts an episode in each; what all see, (N, ...) per name."""
        ...

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Observation:
        """Takes an action (N, D) in those that are active (N,); what all see."""
        ...

    def success(self) -> NDArray[np.bool_]:
        """Whether the instruction of each is fulfilled, (N,)."""
        ...

    def info(self) -> Mapping[str, NDArray[Any]]:
        """Of the current episodes, (N,) each: what it tells of "followed", "shortcut" and "task"."""
        ...


class SeenTogether(Mapping[str, NDArray[Any]]):
    """Observations of several environments as one, (N, ...) per name; each is stacked when it is first looked at.

    So an environment whose observation is a mapping that draws when it is looked at draws only what the policy sees, and nothing
    at the steps between two predictions.
    """

    def __init__(self, seen: Sequence[Observation]) -> None:
        self._seen = list(seen)
        self._made: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._made:
            self._made[name] = np.stack([one[name] for one in self._seen])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen[0])

    def __len__(self) -> int:
        return len(self._seen[0])


class SteppedEnvs:
    """Single environments as one vector, stepped one after the other."""

    def __init__(self, envs: Sequence[Env]) -> None:
        self.envs = list(envs)
        self.max_steps = envs[0].max_steps
        self.seen: list[Observation] = []

    @property
    def instructions(self) -> list[str]:
        """What is asked of each."""
        return [env.instruction for env in self.envs]

    def reset(self, seeds: Sequence[int]) -> "SeenTogether":
        """New episodes; what all see, (N, ...) each."""
        self.seen = [env.reset(seed) for env, seed in zip(self.envs, seeds, strict=True)]
        return SeenTogether(self.seen)

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> "SeenTogether":
        """A step of those that are active."""
        for i in np.flatnonzero(active):
            self.seen[i] = self.envs[i].step(actions[i])
        return SeenTogether(self.seen)

    def success(self) -> NDArray[np.bool_]:
        """Whether the instruction of each is fulfilled, (N,)."""
        return np.array([bool(env.success()) for env in self.envs])

    def info(self) -> dict[str, NDArray[Any]]:
        """Of the current episodes, (N,) each: what the environments tell."""
        told = [dict(env.info()) if hasattr(env, "info") else {} for env in self.envs]
        out = {key: np.array([t[key] for t in told]) for key in ("task", "shortcut") if all(key in t for t in told)}
        followed = [bool(env.followed()) for env in self.envs if hasattr(env, "followed")]
        if len(followed) == len(self.envs):
            out["followed"] = np.array(followed)
        return out

    def close(self) -> None:
        """Frees what the environments hold, where they hold something."""
        for env in self.envs:
            if hasattr(env, "close"):
                env.close()


@dataclass
class EpisodeOutcomes:
    """What came of some episodes.

    Attributes:
        success: of each episode, whether the instruction was fulfilled.
        followed: whether the behaviour concerned the object that the instruction names; empty if the environment does not tell.
        shortcut: whether the shortcut was taken; empty if the environment does not tell.
        task: kind of task; empty if the environment does not tell.
        said: subtasks of each episode, in order; empty if the policy says none.
        seconds: wall time of all predictions.
        predictions: how many there were, each for all episodes side by side.
    """

    success: list[bool] = field(default_factory=list)
    followed: list[bool] = field(default_factory=list)
    shortcut: list[bool] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    seconds: float = 0.0
    predictions: int = 0

    def result(self, embodiment: str, split: str) -> WorldResult:
        """Shares, and the episodes one by one (0 or 1), so that they can be compared in pairs."""
        counted: dict[Share, list[bool]] = {
            "success": self.success,
            "followed": self.followed,
            "shortcut": self.shortcut,
        }
        told = {name: values for name, values in counted.items() if values}
        shares = {name: float(np.mean(values)) for name, values in told.items()}
        return WorldResult(
            embodiment=embodiment,
            split=split,
            episodes=len(self.success),
            success=shares.get("success"),
            followed=shares.get("followed"),
            shortcut=shares.get("shortcut"),
            each={name: tuple(int(v) for v in values) for name, values in told.items()},
            task=tuple(self.task) or None,
            said=tuple(map(tuple, self.said)) or None,
            ms_per_prediction=1000 * self.seconds / max(self.predictions, 1),
        )


def load_factory(name: str) -> EnvFactory:
    """The factory of environments that the user names.

    Args:
        name: module:attribute, or a YAML file of settings (`train.worlds.world_file`).

    Raises:
        InputError: it cannot be imported, or the file cannot be used.
    """
    try:
        factory: EnvFactory = load_world(Path(name)) if is_world_file(name) else load_attribute(name)
    except InputError:
        raise
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--env {name!r}: {error}; expected module:factory, such as examples.tabletop.env:make_vector"
            f"{where_examples_are(error)}"
        ) from None
    return factory


def open_envs(factory: EnvFactory, embodiment: str, split: str, n: int) -> ManyEnvs:
    """`n` environments as one: the factory's own vector if it takes `n`, else single ones, stepped one after the other.

    Raises:
        TypeError: the factory takes neither.
    """
    if "n" in inspect.signature(factory).parameters:
        vector: ManyEnvs = factory(embodiment=embodiment, split=split, n=n)
        return vector
    return SteppedEnvs([factory(embodiment=embodiment, split=split) for _ in range(n)])


def closed_loop(
    act: Act | SayThenAct | InRealTime,
    factory: EnvFactory,
    embodiment: str,
    split: str,
    seeds: range,
    *,
    execute: int,
    batch: int = 20,
    films: int | EpisodeFilms = 0,
) -> tuple[EpisodeOutcomes, list[Film]]:
    """One episode per seed, `batch` of them side by side. An episode ends with its success, or with its time.

    Args:
        act: the policy, which may say subtasks, or act in real time: then the steps that pass while a chunk is computed are those
            that it begins with, of the last chunk.
        factory: makes the environments.
        embodiment: passed to the factory.
        split: passed to the factory.
        seeds: of the episodes.
        execute: steps of each predicted chunk that are taken before the next prediction.
        batch: episodes side by side.
        films: how many of the first episodes to film, or what watches them.

    Returns:
        What came of them, in the order of the seeds, and the films.

    Raises:
        ValueError: the environment's, of an action that it refuses.
    """
    out, filmed = EpisodeOutcomes(), FirstFilms(films) if isinstance(films, int) else films
    with progress(f"{embodiment}, {split}", len(seeds), "episodes") as advance, ExitStack() as held:
        for first in range(0, len(seeds), batch):
            chosen = seeds[first : first + batch]
            envs = open_envs(factory, embodiment, split, len(chosen))
            held.callback(getattr(envs, "close", lambda: None))
            seen, tasks = envs.reset(chosen), list(envs.instructions)
            talk = Conversation.of(act, len(chosen))
            filmed.begin(chosen)
            active, taken, rest = np.ones(len(chosen), bool), 0, None
            filmed.record(0, seen, active, ~active)
            while taken < envs.max_steps and active.any():
                rows, began = np.flatnonzero(active), time.monotonic()
                views: list[Observation] = [{name: np.asarray(seen[name][i]) for name in seen} for i in rows]
                left: list[NDArray[Any]] | None = None if rest is None else [rest[i] for i in rows]
                chunks = talk.act(rows.tolist(), [tasks[i] for i in rows], views, left)
                out.seconds, out.predictions = out.seconds + time.monotonic() - began, out.predictions + 1
                actions = np.zeros((len(chosen), *chunks.shape[1:]), chunks.dtype)
                actions[rows] = chunks
                rest = actions[:, execute:]
                for k in range(min(execute, envs.max_steps - taken)):
                    seen, before, taken = envs.step(actions[:, k], active), active, taken + 1
                    active = before & ~np.asarray(envs.success()) & (taken < envs.max_steps)
                    filmed.record(taken, seen, active, before & ~active)
                    if not active.any():
                        break
            info, success = envs.info(), np.asarray(envs.success())
            out.success += success.tolist()
            out.said += talk.said
            for name in ("followed", "shortcut", "task"):
                getattr(out, name).extend(np.asarray(info[name]).tolist() if name in info else [])
            held.close()
            filmed.end(tasks, success)
            advance(len(chosen))
    return out, filmed.films


def play(
    player: ChunkPolicy,
    factory: EnvFactory,
    embodiment: str,
    split: str,
    seeds: range,
    options: RolloutOptions,
    also: EpisodeFilms | None = None,
) -> tuple[WorldResult, list[Film]]:
    """`closed_loop` of a loaded run.

    Args:
        player: a loaded run (`train.player.Player`).
        factory: makes the environments.
        embodiment: who acts; the run was trained on it.
        split: of the environment.
        seeds: of the episodes.
        options: how it is done.
        also: what watches the episodes besides.

    Returns:
        What came of the episodes, and the films of the first.

    Raises:
        InputError: a chunk has no steps left for the delay.
    """
    horizon, delay = player.horizon(embodiment), options.delay
    steps = max(1, round(options.execute * horizon))
    act: Act | SayThenAct | InRealTime = partial(player.act, embodiment, decode=options.decode)
    if delay:
        most = min(steps - 1, horizon - steps)
        if delay > most or options.subtasks:
            raise InputError(
                f"--delay is {delay}: of chunks of {horizon} steps {steps} are executed (--execute), so that at most {most} can "
                "pass while the next one is computed; expected that many at most, and no --subtasks"
            )

        def go_on(tasks: list[str], seen: list[Observation], left: list[NDArray[Any]] | None) -> NDArray[Any]:
            return player.act(embodiment, tasks, seen, options.decode, prefix=left, delay=delay if left else 0)

        act = InRealTime(go_on)
    elif options.subtasks:

        def on(tasks: list[str], seen: list[Observation], subtasks: list[str]) -> NDArray[Any]:
            return player.act(embodiment, tasks, seen, options.decode, subtasks=subtasks)

        act = SayThenAct(partial(player.say, embodiment), on, options.subtasks)
    first = FirstFilms(options.films)
    films = first if also is None else BothFilms(first, also)
    done, filmed = closed_loop(act, factory, embodiment, split, seeds, execute=steps, batch=options.batch, films=films)
    return done.result(embodiment, split), filmed
