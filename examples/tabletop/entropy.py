"""Measures how many bits of a chunk's tokens are left when the scene is known: no training lets a policy predict these.

    python -m examples.tabletop.entropy --task reach

The expert itself is the oracle. It acts many times in the same scene with the same instruction, each time with other random
numbers, and the module counts the tokens of its actions. `start` is the first chunk of an episode: a picture shows everything
that decides it, except the random numbers. `under way` begins at a later step. There, all repeats have the same past and the
same plan (bend, pace). A picture does not show the plan, so a policy has more bits left there than this oracle.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.tabletop.code_length import Reader, bits, plug_in
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.expert import Expert
from examples.tabletop.manner import Manner
from examples.tabletop.vector import make_vector
from fasttok.actions.chunks import episode_chunks, horizon_steps
from fasttok.actions.normalize import NormStats
from fasttok.common.console import emit_json, progress, run, table
from fasttok.common.flags import OPTIONAL
from fasttok.common.maybe import Maybe
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer

Moment = Literal["start", "under way"]
SECONDS = 1.0  # length of a chunk, as in the studies
ORACLE_SEED, FIT_SCENES, FIT_SEED = 1 << 33, 200, 40_000_000
Ids = tuple[int, ...]


@dataclass(frozen=True)
class EntropyConfig:
    """Measures how many bits of the expert's action tokens are left when the scene is known.

    Example: python -m examples.tabletop.entropy --task reach --scenes 20 --repeats 64 --no-tremor
    """

    embodiment: str = "planar"
    """Robot that acts."""
    task: Annotated[str, OPTIONAL] = ""
    """Kinds of tasks, such as reach or reach+push; all by default."""
    scenes: int = 20
    """Scenes, over which the numbers are means."""
    repeats: int = 64
    """Times that the expert acts in each. More of them narrow the gap between "at least" and "at most"."""
    tremor: bool = True
    """As of `python -m examples.tabletop.generate`."""
    bends: bool = True
    """As of `python -m examples.tabletop.generate`."""
    pauses: bool = True
    """As of `python -m examples.tabletop.generate`."""
    constant_pace: bool = False
    """As of `python -m examples.tabletop.generate`."""
    tokenizer: Maybe[Path] = None
    """FAST tokenizer folder, such as that of a study's data; by default one is fitted on demonstrations of this manner."""
    vocab_size: int = 512
    """Ids of the tokenizer that is fitted."""
    scale: float = 10.0
    """Scale of the tokenizer that is fitted: coarse at 1, fine at 100."""
    seed: int = 0
    """Seed of scenes and dice."""
    json: bool = False
    """Print JSON on stdout."""

    def __post_init__(self) -> None:
        for name, least in (("scenes", 2), ("repeats", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} is {getattr(self, name)}, expected at least {least}")

    @property
    def manner(self) -> Manner:
        """How the expert moves."""
        return Manner(self.tremor, self.bends, not self.constant_pace, self.pauses)


@dataclass(frozen=True)
class TokenEntropy:
    """Bits of a chunk's tokens, including the end of the chunk, as means over scenes.

    Attributes:
        moment: where in an episode the chunk begins.
        tokens: number of ids of a chunk.
        unknown: bits for a reader who knows how the expert acts in other scenes, but not in this one.
        at_least: bits when the scene is known, by counting whole chunks; too low if almost all repeats differ.
        at_most: bits when the scene is known, for a reader of the other repeats (`code_length`); the entropy is not above it.
        nats_per_token: nats of `at_most` per id, where the end counts as one id, as in the losses of `fasttok-train`.
    """

    moment: Moment
    tokens: float
    unknown: float
    at_least: float
    at_most: float
    nats_per_token: float


def measure(config: EntropyConfig) -> list[TokenEntropy]:
    """Measures the bits of the tokens of chunks at both moments, with progress on stderr.

    Raises:
        InputError: there is no such embodiment or task, or the tokenizer is for other actions.
    """
    make_vector(config.embodiment, task=config.task)  # refuses a wrong name before anything is played
    horizon = horizon_steps(SECONDS, EMBODIMENTS[config.embodiment].control_hz)
    tokenizer, name = _tokenizer(config, horizon)
    out = []
    for moment in get_args(Moment):
        scenes: list[list[Ids]] = []
        with progress(f"{config.embodiment}, {moment}", config.scenes, "scenes") as advance:
            for scene in range(config.scenes):
                chunks = repeat(config, config.seed * 1_000_000 + scene, horizon, moment)
                scenes.append([tuple(ids.tolist()) for ids in tokenizer.encode(chunks, embodiment=name)])
                advance()
        out.append(entropy_of(scenes, tokenizer.vocab_size, moment))
    return out


def entropy_of(scenes: list[list[Ids]], vocabulary: int, moment: Moment = "start") -> TokenEntropy:
    """Computes the bits of token sequences.

    Args:
        scenes: for each scene, the ids of each repeat.
        vocabulary: number of ids of the tokenizer.
        moment: where in an episode the chunks begin.
    """
    everything = Reader()
    for scene in scenes:
        for ids in scene:
            everything.add(ids)
    unknown, known = [], []
    for scene in scenes:
        here = Reader()
        for ids in scene:
            everything.add(ids, -1)
            here.add(ids)
        for ids in scene:
            unknown.append(bits(ids, [everything], vocabulary))
            here.add(ids, -1)  # the reader must not have seen what it predicts
            known.append(bits(ids, [everything, here], vocabulary))
            here.add(ids)
        for ids in scene:
            everything.add(ids)
    tokens = float(np.mean([len(ids) for scene in scenes for ids in scene]))
    at_most = float(np.mean(known))
    return TokenEntropy(
        moment=moment,
        tokens=tokens,
        unknown=float(np.mean(unknown)),
        at_least=float(np.mean([plug_in(scene) for scene in scenes])),
        at_most=at_most,
        nats_per_token=at_most * float(np.log(2)) / (tokens + 1),
    )


def repeat(config: EntropyConfig, seed: int, horizon: int, moment: Moment) -> NDArray[np.float32]:
    """Returns the expert's chunks in one scene, (repeats, horizon, D). After an episode's end its last action is repeated.

    Args:
        config: gives robot, task, manner and repeats.
        seed: seed of the scene.
        horizon: number of steps of a chunk.
        moment: where in the episode the chunks begin.
    """
    if moment == "start":
        own = [np.random.default_rng([ORACLE_SEED, seed, n]) for n in range(config.repeats)]
        return _acted(config, seed, own, horizon)
    length = len(_episode(config, seed))
    first = int(np.random.default_rng([ORACLE_SEED, seed]).integers(1, max(2, length - horizon // 2)))
    shared = [np.random.default_rng([ORACLE_SEED, seed, 0]) for _ in range(config.repeats)]
    return _acted(config, seed, shared, first + horizon, apart_from=first)[:, first:]


def _acted(
    config: EntropyConfig, seed: int, dice: list[np.random.Generator], steps: int, apart_from: int | None = None
) -> NDArray[np.float32]:
    """Returns the first steps of several experts in one scene, (len(dice), steps, D), where each has its own generator.

    From step `apart_from` on, each expert gets a new generator.
    """
    env = make_vector(config.embodiment, n=len(dice), task=config.task)
    env.reset([seed] * len(dice))
    experts = [Expert(env.world(row), env.tasks[row], env.robot, rng, config.manner) for row, rng in enumerate(dice)]
    active, actions = np.ones(len(dice), bool), np.zeros((len(dice), env.action_dim), np.float32)
    made = np.zeros((len(dice), steps, env.action_dim), np.float32)
    for step in range(steps):
        if step == apart_from:
            for row, expert in enumerate(experts):
                expert.rng = np.random.default_rng([ORACLE_SEED, seed, 1 + row])
        for row in np.flatnonzero(active).tolist():
            action = experts[row].act()
            if action is None:
                active[row] = False
            else:
                actions[row] = action
        made[:, step] = actions
        if active.any():
            env.step(actions, active)
    return made


def _episode(config: EntropyConfig, seed: int) -> NDArray[np.float32]:
    """Returns the actions (T, D) of one demonstration."""
    env = make_vector(config.embodiment, task=config.task)
    env.reset([seed])
    expert = Expert(env.world(0), env.tasks[0], env.robot, np.random.default_rng([ORACLE_SEED, seed, 0]), config.manner)
    actions = []
    while (action := expert.act()) is not None:
        actions.append(action)
        env.step(action[None])
    return np.array(actions)


def _tokenizer(config: EntropyConfig, horizon: int) -> tuple[ActionTokenizer, str | None]:
    """Returns the tokenizer, and the name that it has for the robot."""
    if config.tokenizer is not None:
        tokenizer = ActionTokenizer.load(config.tokenizer)
        return tokenizer, tokenizer.embodiment_argument(config.embodiment)
    episodes = [_episode(config, FIT_SEED + config.seed * 1_000_000 + n) for n in range(FIT_SCENES)]
    held = ("absolute",) * episodes[0].shape[1]  # after an episode's end its last action is repeated, as in `repeat`
    chunks = np.concatenate([episode_chunks(actions, horizon, held) for actions in episodes])
    stats = NormStats.fit(np.concatenate(episodes))
    return ActionTokenizer.fit(chunks, vocab_size=config.vocab_size, scale=config.scale, stats=stats), None


def main(config: EntropyConfig) -> None:
    """Measures, and prints the results.

    Raises:
        InputError: as `measure` raises it.
    """
    rows = measure(config)
    if config.json:
        emit_json([asdict(row) for row in rows])
        return
    columns = ["chunk", "tokens", "bits, scene unknown", "bits, known: at least", "at most", "nats a token, at most"]
    cells = [
        [row.moment, *(f"{x:.2f}" for x in (row.tokens, row.unknown, row.at_least, row.at_most, row.nats_per_token))]
        for row in rows
    ]
    table("what is left of a chunk's tokens", columns, cells)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(EntropyConfig, prog="python -m examples.tabletop.entropy"))))
