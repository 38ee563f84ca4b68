"""Closed-loop evaluation: a policy acts in many environments side by side, and its successes are counted."""

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
from train.judging.measurements import Decoding, Share, WorldResult, usual_ms
from train.user_modules import load_attribute, where_examples_are
from train.worlds.world_file import is_world_file, load_world

Observation = Seen
EnvFactory = Callable[..., Any]
"""`make(embodiment=, split=) -> Env`, or `make(embodiment=, split=, n=) -> ManyEnvs`."""


class Env(Protocol):
    """An environment, as the evaluation uses it. A factory `make(embodiment=..., split=...) -> Env` makes it.

    An environment may have five more methods. `followed() -> bool` says whether the robot acted on the object that the
    instruction names. `info() -> dict` may contain "shortcut" (bool) and "task" (str), which are reported. `expert()` and
    `blind()` are the companions that the policy is compared with (`train.judging.companions`). `close()` is called after the
    episodes. A factory may have an attribute `splits` with the names of the splits that it knows.
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
    """A policy, as the evaluation uses it: a loaded run (`train.player.Player`), or a server."""

    @property
    def usual_decode(self) -> Decoding:
        """How actions are predicted if nobody says how."""
        ...

    def horizon(self, embodiment: str) -> int:
        """Returns the number of steps in a chunk of an embodiment."""
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
        """Returns chunks (n, horizon, D) in raw units for n instructions and observations, as `train.player.Player.act` does."""
        ...

    def say(self, embodiment: str, tasks: list[str], observations: list[Observation]) -> list[str]:
        """Returns subtasks for n instructions and observations; only for runs that were trained to predict them."""
        ...


@dataclass(frozen=True)
class RolloutOptions:
    """How a run is played in a world.

    Attributes:
        decode: how actions are predicted.
        execute: share of each predicted chunk that is executed before the next prediction.
        batch: number of episodes that are played side by side.
        films: how many of the first episodes to film.
        subtasks: number of chunks for which a subtask is kept before the run predicts the next one; 0: no subtasks.
        delay: steps that pass while a chunk is computed, in which the last chunk is executed; 0: the world waits.
    """

    decode: Decoding = "flow"
    execute: float = 0.5
    batch: int = 20
    films: int = 0
    subtasks: int = 0
    delay: int = 0


class ManyEnvs(Protocol):
    """Several environments that are stepped at once. A factory `make(embodiment=..., split=..., n=...)` makes them.

    Attributes:
        max_steps: steps after which an episode ends.
    """

    max_steps: int

    @property
    def instructions(self) -> Sequence[str]:
        """Instruction of each environment, (N,)."""
        ...

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Starts an episode in each environment; returns all observations, (N, ...) per name."""
        ...

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Observation:
        """Takes one action (N, D) in each environment that is active (N,); returns all observations."""
        ...

    def success(self) -> NDArray[np.bool_]:
        """Returns whether each instruction is fulfilled, (N,)."""
        ...

    def info(self) -> Mapping[str, NDArray[Any]]:
        """Returns what the environments report of the current episodes: any of "followed", "shortcut" and "task", (N,) each."""
        ...


class SeenTogether(Mapping[str, NDArray[Any]]):
    """Observations of several environments as one, (N, ...) per name. A name is stacked when it is first read.

    So if an environment renders its images only when they are read from its observation, it renders only what the policy sees,
    and nothing at the steps between two predictions.
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
    """Single environments as one vector (`ManyEnvs`), stepped one after the other."""

    def __init__(self, envs: Sequence[Env]) -> None:
        self.envs = list(envs)
        self.max_steps = envs[0].max_steps
        self.seen: list[Observation] = []

    @property
    def instructions(self) -> list[str]:
        """Instruction of each environment."""
        return [env.instruction for env in self.envs]

    def reset(self, seeds: Sequence[int]) -> "SeenTogether":
        """Starts an episode in each environment; returns all observations, (N, ...) per name."""
        self.seen = [env.reset(seed) for env, seed in zip(self.envs, seeds, strict=True)]
        return SeenTogether(self.seen)

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> "SeenTogether":
        """Takes one action in each environment that is active; returns all observations."""
        for i in np.flatnonzero(active):
            self.seen[i] = self.envs[i].step(actions[i])
        return SeenTogether(self.seen)

    def success(self) -> NDArray[np.bool_]:
        """Returns whether each instruction is fulfilled, (N,)."""
        return np.array([bool(env.success()) for env in self.envs])

    def info(self) -> dict[str, NDArray[Any]]:
        """Returns what all environments report of the current episodes, (N,) each."""
        told = [dict(env.info()) if hasattr(env, "info") else {} for env in self.envs]
        out = {key: np.array([t[key] for t in told]) for key in ("task", "shortcut") if all(key in t for t in told)}
        followed = [bool(env.followed()) for env in self.envs if hasattr(env, "followed")]
        if len(followed) == len(self.envs):
            out["followed"] = np.array(followed)
        return out

    def close(self) -> None:
        """Closes the environments that have a method `close`."""
        for env in self.envs:
            if hasattr(env, "close"):
                env.close()


@dataclass
class EpisodeOutcomes:
    """Outcomes of some episodes.

    Attributes:
        success: for each episode, whether the instruction was fulfilled.
        followed: whether the robot acted on the object that the instruction names; empty if the environment does not report it.
        shortcut: whether the robot took the shortcut; empty if the environment does not report it.
        task: kind of task; empty if the environment does not report it.
        said: subtasks of each episode, in order; empty if the policy says none.
        seconds: wall time of each prediction; each is for all episodes that are played side by side.
    """

    success: list[bool] = field(default_factory=list)
    followed: list[bool] = field(default_factory=list)
    shortcut: list[bool] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def result(self, embodiment: str, split: str) -> WorldResult:
        """Returns shares, and the outcome of each episode (0 or 1), so that policies can be compared episode by episode."""
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
            ms_per_prediction=usual_ms(self.seconds),
        )


def load_factory(name: str) -> EnvFactory:
    """Loads the factory of environments that the user names.

    Args:
        name: module:attribute, or a YAML file of settings (`train.worlds.world_file`).

    Raises:
        InputError: the factory cannot be imported, or the file cannot be used.
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
    """Makes `n` environments as one: the factory's own vector if it takes `n`, else single ones, stepped one after the other.

    Raises:
        TypeError: the factory does not take these arguments.
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
    """Plays one episode per seed, `batch` of them side by side. An episode ends with success, or after `max_steps`.

    Args:
        act: the policy, which may say subtasks or act in real time. In real time, a chunk begins with the actions of the last
            chunk that are executed while it is computed.
        factory: makes the environments.
        embodiment: passed to the factory.
        split: passed to the factory.
        seeds: seeds of the episodes.
        execute: steps of each predicted chunk that are executed before the next prediction.
        batch: number of episodes that are played side by side.
        films: how many of the first episodes to film, or an object that films episodes.

    Returns:
        The outcomes, in the order of the seeds, and the films.

    Raises:
        ValueError: the environment refuses an action.
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
                out.seconds.append(time.monotonic() - began)
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
    """Plays a policy with `closed_loop`.

    Args:
        player: a loaded run (`train.player.Player`), or a server.
        factory: makes the environments.
        embodiment: embodiment that acts; the run was trained on it.
        split: split of the environment.
        seeds: seeds of the episodes.
        options: how to play.
        also: also films the episodes; None: nothing else does.

    Returns:
        Results of the episodes, and the films of the first ones.

    Raises:
        InputError: the delay is too long for the chunks, or there are a delay and subtasks.
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
