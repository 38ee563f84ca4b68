"""The command fasttok-evaluate replay --run RUN --data DATASET_OR_INDEX --episode N --out PAGE."""

import math
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fasttok.common.console import emit_json, log, table, write_text
from fasttok.common.flags import OPTIONAL, optional
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.common.urls import is_url
from fasttok.errors import InputError, require, require_installed
from pipelines.stored_episode import StoredEpisode, StoredPlace, stored_episode
from train.acting.sampling_numbers import check_noise_seed
from train.devices.jax_setup import set_up_jax
from train.given_paths import TRAINING
from train.judging.measurements import Decoding
from train.judging.server_flags import check_server_flags
from train.replay.asked_robot import AskedRobot, TrainedRange, check_episode, chosen_embodiment, from_metadata
from train.replay.compared import errors, grippers, written_alike
from train.replay.predicted import Ask, predict
from train.rollouts import ChunkPolicy
from train.runs.run_folder import load_config

NAME = "replay"


@dataclass(frozen=True)
class ReplayConfig:
    """Makes a page that draws the actions that a policy predicts along a recorded episode over the recorded ones.

    The page needs no network.

    Example: fasttok-evaluate replay --run RUN --data INDEX --split val --episode 0 --out replay.html
    """

    data: str
    """Folder or URL of an INDEX, or of a dataset: RLDS, LeRobot, HDF5 or tables.
    The command finds an episode of an INDEX at once."""
    run: Maybe[Path] = None
    """Folder of the run to ask, from `fasttok-train`. Give this or --policy."""
    policy: Annotated[str, optional("ws://HOST:PORT")] = ""
    """Address of a policy server to ask instead of --run, such as ws://127.0.0.1:8000.
    Use it to see what a robot would get from this server.
    If the server wants an API key, put it into the variable FASTTOK_API_KEY."""
    dataset: Annotated[str, OPTIONAL] = ""
    """Name of the dataset. You need it if the INDEX has several robot datasets."""
    split: str = "train"
    """Split of the dataset. If there is one that the policy was not trained on, use that."""
    episode: int = 0
    """Number of the episode, from 0. In an INDEX it counts the indexed episodes.
    In a dataset that is not indexed it counts all records of the split, in the order of their files."""
    entries: Annotated[tuple[str, ...], OPTIONAL] = ()
    """YAML files, or folders of them, that say what the features of a dataset mean (dataset entries).
    Use them for a dataset that is not indexed and has no entry of its own."""
    embodiment: Annotated[str, OPTIONAL] = ""
    """Robot (embodiment) for which to ask the policy. By default that of the episode."""
    prompt: Annotated[str, OPTIONAL] = ""
    """Instruction for the policy. By default the recorded one; you need it if the episode has none."""
    every: int = 0
    """Number of steps between two predictions. 0: half a chunk, as `fasttok-evaluate` does by default."""
    batch: int = 8
    """Number of predictions that are computed at once. Fewer need less memory."""
    decode: Maybe[Decoding] = None
    """How to predict actions. flow: with the action expert, or what the recipe has instead; tokens: with action tokens.
    By default flow, or tokens if the run has no action expert."""
    flow_steps: int = 10
    """Number of Euler steps from noise to actions: fewer are faster and coarser; only with --run."""
    checkpoint: Maybe[int | Literal["best"]] = None
    """Which checkpoint to ask, with --run: a step, or best for the one that `--keep-best` kept. By default the newest."""
    seed: int = 0
    """Seed of the noise that predictions start from; only with --run."""
    out: Path = Path("replay.html")
    """HTML file for the page."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print the errors as JSON on stdout."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """A policy that is ready to be asked: its name, the step of its checkpoint, and the robot that acts."""

    name: str
    step: int | None
    robot: AskedRobot
    policy: ChunkPolicy


def replay(config: ReplayConfig, typed: str = "") -> Path:
    """Writes the page, and prints a table of errors.

    Args:
        config: options of the command.
        typed: the command line, for the page.

    Raises:
        InputError: there is no such episode or policy, the episode does not fit the policy's robot, or the page already exists.
    """
    from train.replay.replay_page import ReplayFacts, document

    if (config.run is None) == (not config.policy):
        raise InputError("replay asks one policy: pass --run RUN, or --policy ws://HOST:PORT, and not both")
    if config.policy:
        check_server_flags(config, ("flow_steps", "checkpoint", "seed"))
    if config.batch < 1 or config.every < 0:
        raise InputError(f"--batch is {config.batch} and --every {config.every}; expected at least 1, and at least 0")
    check_noise_seed(config.seed, "--seed")
    check_output_file(config.out, overwrite=config.overwrite)
    _check_not_read(config)
    if config.run is not None:
        require_installed(TRAINING, "train", "replaying a run")
        load_config(config.run)  # before JAX is imported
    place = StoredPlace(config.data, config.split, config.episode, config.dataset, config.entries)
    episode = stored_episode(place)
    prompt = config.prompt or episode.prompt
    if not prompt:
        raise InputError(f"episode {config.episode} of {episode.dataset} has no instruction; give one: --prompt TEXT")
    with _open(config, episode) as opened:
        robot = opened.robot
        episode = robot.sees(episode)
        check_episode(robot, episode)
        every = config.every or max(1, robot.horizon // 2)
        if every > robot.horizon:
            raise InputError(f"--every is {every}; a chunk has {robot.horizon} steps, so expected at most that many")
        decode = config.decode or opened.policy.usual_decode
        ask: Ask = partial(opened.policy.act, robot.embodiment, decode=decode)
        predicted = predict(ask, episode, robot.cameras, prompt, every, config.batch)
    episode, predicted = written_alike(episode, predicted)
    off, traces = errors(episode, predicted), grippers(episode, predicted, every)
    masked = tuple(slot for slot in robot.cameras if slot not in episode.cameras)
    about = ReplayFacts(opened.name, opened.step, robot.embodiment, decode, every, prompt, masked, typed)
    write_text(config.out, document(episode, predicted, off, traces, about))
    if config.json:
        total = off.total if math.isfinite(off.total) else None
        emit_json({"names": episode.action_names, "rmse": off.rmse, "spread": off.spread, "total": total})
    else:
        rows = zip(episode.action_names, off.rmse.tolist(), off.spread.tolist(), strict=True)
        table(f"{episode.dataset}, {config.split}, episode {config.episode}", ["column", "rmse", "spread"], rows)
    still = math.isnan(off.total)
    said = "nothing moves" if still else f"error against the spread {off.total:.2f} (1: always the mean)"
    log(f"{said} -> {config.out}")
    return config.out


def _check_not_read(config: ReplayConfig) -> None:
    """Refuses to write the page over a file of the run or of the data.

    Raises:
        InputError: the page would replace such a file.
    """
    for read in (config.run, None if is_url(config.data) else Path(config.data)):
        if read is not None and config.out.exists() and config.out.resolve().is_relative_to(read.resolve()):
            raise InputError(
                f"--out {config.out} is in {read}, which the command reads, so it will not be overwritten; choose another"
            )


@contextmanager
def _open(config: ReplayConfig, episode: StoredEpisode) -> Iterator[_Opened]:
    """Opens the run, or the connection to the server."""
    if config.run is not None:
        yield _loaded(config, config.run, episode)
        return
    from fasttok.client import Client
    from train.judging.served_policy import API_KEY, WAIT, ServedPolicy

    key = os.environ.get(API_KEY) or None
    with Client(config.policy, api_key=key, wait=WAIT) as client:
        said = client.metadata
    known = said.get("embodiments")
    if not isinstance(known, dict):
        raise InputError(f"{config.policy} does not say which embodiments it knows; expected fasttok-serve")
    embodiment = chosen_embodiment(config.embodiment, episode, list(known))
    about = known[embodiment]
    if not isinstance(about, dict):
        raise InputError(f"{config.policy} says nothing of {embodiment}; expected fasttok-serve")
    with ServedPolicy(config.policy, api_key=key, most=config.batch) as served:
        robot = from_metadata(embodiment, about, config.policy)
        yield _Opened(config.policy, served.served.step, robot, served)


def _loaded(config: ReplayConfig, run: Path, episode: StoredEpisode) -> _Opened:
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "replaying a run")
    from train.player import Player, robot_dim

    player = Player.load(run, config.flow_steps, config.batch, config.seed, config.checkpoint)
    embodiment = chosen_embodiment(config.embodiment, episode, player.embodiments)
    robot, tok = player.robot(embodiment), player.encoder.tok
    of_dataset = [one for one in player.encoder.robots.robots.values() if one.embodiment == embodiment]
    renamed = next((one.renamed for one in of_dataset if one.dataset == episode.dataset), robot.renamed)
    as_trained = robot.representation is None or robot.representation.stored
    asked = AskedRobot(
        embodiment,
        robot.horizon,
        robot_dim(robot),
        robot.action_names if as_trained else (),
        None if robot.control_hz is None else float(robot.control_hz),
        robot.cameras,
        robot.state_names,
        TrainedRange.of(tok.stats.get(embodiment)) if as_trained else None,
        TrainedRange.of(tok.state_stats.get(embodiment)),
        renamed,
    )
    return _Opened(str(run), player.step, asked, player)


def command(words: Sequence[str]) -> None:
    """Runs the command with the words after `replay`."""
    config = tyro.cli(ReplayConfig, prog=f"fasttok-evaluate {NAME}", args=list(words))
    if config.run is not None:
        set_up_jax()
    replay(config, shlex.join(["fasttok-evaluate", NAME, *words]))
