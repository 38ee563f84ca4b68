"""Measures what a trained run can do: success in a world, answers to questions, and action error on held-out shards.

    fasttok-evaluate --run RUN --env examples.tabletop.env:make_vector --episodes 40
    fasttok-evaluate --policy ws://127.0.0.1:8000 --env my_world:make    # asks a running fasttok-serve; needs no JAX

Success and language following are counted separately: a robot can act on the named object and still fail.
"""

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fasttok.common import completion, json_files
from fasttok.common.console import emit_json, log, table, write_text
from fasttok.common.flags import OPTIONAL, optional
from fasttok.common.json_files import LEFT_OUT
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file, make_folder
from fasttok.common.urls import as_typed
from fasttok.errors import InputError, require, require_installed, unknown_name
from train.devices.jax_setup import set_up_jax
from train.given_paths import TRAINING, check_questions, check_shards
from train.judging.chosen_films import SmallFilms
from train.judging.companions import CompanionResult, offered, play_companion
from train.judging.film_recorder import Film
from train.judging.measurements import SHARES, ActionErrors, Decoding, VqaResult, WorldResult
from train.judging.played_world import Played, PlayedWorld, by_seed
from train.judging.server_flags import check_server_flags
from train.judging.wilson import percent
from train.rollouts import ChunkPolicy, EnvFactory, RolloutOptions, load_factory, play
from train.runs.run_folder import RUN, load_config
from train.scripts import evaluate as script
from train.worlds.world_file import check_splits

SHOWN_SUBTASKS = 8


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures a run: success and language following in a world, answers to questions, action error on held-out shards.

    Say what to measure with --env, --vqa and --held-out. `fasttok-evaluate replay` draws the predicted actions of an episode over
    the recorded ones; it has a --help of its own. The tabletop world of the example is in the folder `examples` of the
    repository, which pip does not install: run the command in a clone of it.

    Example: fasttok-evaluate --run RUN --env examples.tabletop.env:make_vector --vqa data/tabletop_vqa
    """

    run: Maybe[Path] = None
    """Folder of the run to evaluate, from `fasttok-train`. Give this or --policy."""
    policy: Annotated[str, optional("ws://HOST:PORT")] = ""
    """Address of a server to evaluate instead of --run: one that was started with --keys ours.
    Use it with --env when the world's Python environment has no JAX.
    If the server wants an API key, put it into the variable FASTTOK_API_KEY."""
    shards: Maybe[Path] = None
    """Shards that the run was trained on. Only an old run without robots.json needs this, if its shards have moved."""
    env: Annotated[str, optional("MODULE:FACTORY|WORLD.yaml")] = ""
    """World to act in: module:factory (train/rollouts.py), or a YAML file with a world and its settings (docs/worlds.md)."""
    embodiments: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Robots (embodiments) to evaluate, in the world and on --held-out. By default all that the run knows."""
    splits: tuple[str, ...] = ("seen", "held_out")
    """Splits of the world to play. Each world has its own names for them."""
    episodes: int = 40
    """Number of episodes for each embodiment and split."""
    batch: int = 20
    """Number of episodes that are played side by side, and of rows that the run predicts at once."""
    execute: float = 0.5
    """Share of each predicted chunk that the robot executes before the next prediction: above 0, at most 1."""
    delay: int = 0
    """Number of steps that pass while the next chunk is computed (real-time chunking). 0: the world waits. Use it with --env.
    Meanwhile the robot goes on with the last chunk, as a real robot does, and the next chunk continues that."""
    decode: Maybe[Decoding] = None
    """How to predict actions. flow: with the action expert, or what the recipe has instead; tokens: with action tokens.
    By default flow, or tokens if the run has no action expert."""
    subtasks: int = 0
    """Number of chunks for which a subtask is kept before the run predicts the next one. 0: no subtasks.
    Use it with --env for runs that were trained to predict subtasks."""
    flow_steps: int = 10
    """Number of Euler steps from noise to actions: fewer are faster and coarser."""
    temperature: float = 0.0
    """Temperature of action tokens: 0 takes the likeliest tokens, 1 samples from what the model predicts."""
    vqa: Maybe[Path] = None
    """Folder of questions about images, in any format that `fasttok-pipelines index` reads, with a dataset.yaml.
    The run answers questions of its val split."""
    vqa_questions: int = 400
    """Maximum number of questions of --vqa to ask, the first ones."""
    held_out: Maybe[Path] = None
    """Folder of shards that the run was not trained on (built from sources of another split).
    The command measures the error of each action dimension on them."""
    held_out_rows: int = 512
    """Maximum number of rows of --held-out to measure for each embodiment, spread evenly."""
    checkpoint: Maybe[int | Literal["best"]] = None
    """Which checkpoint to evaluate: a step, or best for the one that `fasttok-train --keep-best` kept. By default the newest."""
    seed: int = 1_000_000
    """Seed of the first episode. Each further episode has the next number."""
    out: Maybe[Path] = None
    """JSON file for the results."""
    rollouts: Maybe[Path] = None
    """npz file for the images of a few episodes, the first ones of each embodiment and split (--films)."""
    films_page: Maybe[Path] = None
    """HTML file for a page with films of the first failures and successes. Use it to see what goes wrong.
    If the world offers them, it also shows an expert and a robot that acts blindly. The page needs no network."""
    films: int = 2
    """Number of episodes to film for each embodiment and split. --rollouts films the first ones.
    --films-page films up to this many failures and up to this many successes."""
    overwrite: bool = False
    """Replace the files --out, --rollouts and --films-page."""
    json: bool = False
    """Print the results as JSON on stdout."""


@dataclass(frozen=True)
class EvaluationResult:
    """What `fasttok-evaluate` writes to --out and prints with --json.

    Attributes:
        run: folder of the run; with --policy, the server's name for its run.
        step: step of the checkpoint.
        world: one entry per embodiment and split; empty without --env.
        vqa: None without --vqa.
        actions: one entry per embodiment; empty without --held-out.
        companions: results of the companions in the same episodes; None without --films-page.
        policy: address of the server that was asked; None with --run.
    """

    run: str
    step: int
    world: tuple[WorldResult, ...]
    vqa: VqaResult | None
    actions: tuple[ActionErrors, ...]
    companions: tuple[CompanionResult, ...] | None = field(default=None, metadata=LEFT_OUT)
    policy: str | None = field(default=None, metadata=LEFT_OUT)


def main(config: EvaluateConfig, typed: str = "") -> EvaluationResult:
    """Measures what `config` asks for, prints the results and writes the files.

    Args:
        config: what to measure.
        typed: the command line, which the page of films shows.

    Raises:
        InputError: the run, the environment or a dataset does not exist, nothing is asked for, or flags do not fit together.
    """
    _check_who_acts(config)
    if not config.policy:
        require_installed(TRAINING, "train", "evaluation")
    if not config.env and config.vqa is None and config.held_out is None:
        raise InputError("nothing to evaluate: pass --env module:factory, --vqa FOLDER, --held-out SHARDS, or several")
    _check_numbers(config)
    _check_files(config)
    if config.subtasks < 0 or (config.subtasks and not config.env):
        raise InputError(
            f"--subtasks is {config.subtasks}; expected the number of chunks that a subtask is kept for, with an --env to act in"
        )
    if config.delay < 0 or (config.delay and not config.env):
        raise InputError(
            f"--delay is {config.delay}; expected the steps that pass while a chunk is computed, with an --env"
        )
    _check_given(config)
    factory = load_factory(config.env) if config.env else None
    if factory is not None:
        check_splits(factory, config.splits, config.env)
    # After all other checks, because these imports take seconds.
    for package in () if config.policy else ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "evaluation")
    if config.films_page is not None:
        require("PIL.Image", "train", "--films-page")
    config = dataclasses.replace(  # episodes of what is named twice must count once
        config, embodiments=tuple(dict.fromkeys(config.embodiments)), splits=tuple(dict.fromkeys(config.splits))
    )
    from train.judging import rollout_videos

    results, watched = _ask_server(config, factory) if config.policy else _ask_run(config, factory)
    show(results, config.json)
    if config.rollouts is not None:
        make_folder(config.rollouts)
        rollout_videos.save(config.rollouts, watched.films)
    if config.films_page is not None:
        from train.judging import films_page

        about = films_page.PageFacts(results.run, results.step, config.env, typed)
        write_text(config.films_page, films_page.document(watched.played, about))
        log(f"films -> {config.films_page}")
    if config.out is not None:
        write_text(config.out, json_files.write(results))
    return results


@dataclass(frozen=True)
class Watched:
    """Results and films of all episodes in a world.

    Attributes:
        results: one per embodiment and split.
        films: films for --rollouts, by "EMBODIMENT/SPLIT".
        played: episodes with their films, for --films-page.
        companions: results of the companions in the same episodes.
    """

    results: list[WorldResult]
    films: dict[str, list[Film]]
    played: list[PlayedWorld]
    companions: list[CompanionResult]


def _ask_run(config: EvaluateConfig, factory: EnvFactory | None) -> tuple[EvaluationResult, Watched]:
    """Measures a run, which is loaded from its folder."""
    from pipelines.shards.manifest import Manifest
    from train.judging.held_out_rows import warn_of_training_rows
    from train.judging.open_loop import action_errors
    from train.judging.vqa_accuracy import answer_questions
    from train.player import Player

    assert config.run is not None
    player = Player.load(
        config.run, config.flow_steps, config.batch, 0, config.checkpoint, config.temperature, config.shards
    )
    _check_embodiments(config.embodiments, player.embodiments, "of the run")
    if config.held_out is not None:
        manifest = Manifest.load(as_typed(config.held_out))
        there = [source.embodiment_name for source in manifest.sources.values() if source.robot and source.written]
        _check_embodiments(config.embodiments, there, f"of --held-out {config.held_out}")
        warn_of_training_rows(config.run, manifest, config.held_out)
    watched = Watched([], {}, [], [])
    if factory is not None:
        watched = _watch(config, player, factory, config.embodiments or player.embodiments)
    vqa, actions = None, []
    if config.vqa is not None:
        vqa = answer_questions(player, config.vqa, config.vqa_questions)
    if config.held_out is not None:
        decode, only = config.decode or player.usual_decode, config.embodiments or None
        actions = action_errors(player, config.held_out, config.held_out_rows, decode, embodiments=only)
    companions = tuple(watched.companions) if config.films_page else None
    told = EvaluationResult(str(config.run), player.step, tuple(watched.results), vqa, tuple(actions), companions)
    return told, watched


def _ask_server(config: EvaluateConfig, factory: EnvFactory | None) -> tuple[EvaluationResult, Watched]:
    """Measures the run of a server in a world."""
    from train.judging.served_policy import API_KEY, ServedPolicy

    assert factory is not None
    with ServedPolicy(config.policy, api_key=os.environ.get(API_KEY) or None, most=config.batch) as policy:
        log(f"{policy.served.run}, step {policy.served.step}, acts at {config.policy}")
        _check_embodiments(config.embodiments, policy.embodiments, f"of the run at {config.policy}")
        watched = _watch(config, policy, factory, config.embodiments or policy.embodiments)
    companions = tuple(watched.companions) if config.films_page else None
    run, step = policy.served.run, policy.served.step
    return EvaluationResult(run, step, tuple(watched.results), None, (), companions, config.policy), watched


def _check_who_acts(config: EvaluateConfig) -> None:
    """Refuses flags that do not go together.

    Raises:
        InputError: not exactly one of --run and --policy is given; or --policy lacks --env, or has a flag that needs --run.
    """
    if bool(config.policy) == (config.run is not None):
        raise InputError(
            f"{'both --run and --policy' if config.policy else 'neither --run nor --policy'}; expected one: the folder of a run, "
            "or the address of fasttok-serve, ws://HOST:PORT"
        )
    if not config.policy:
        return
    if not config.env:
        raise InputError("--policy acts in a world; pass --env module:factory")
    for flag, value in (("--vqa", config.vqa), ("--held-out", config.held_out)):
        if value is not None:
            raise InputError(f"{flag} with --policy: a server acts, and answers no such questions; pass it with --run")
    check_server_flags(config, ("shards", "checkpoint", "flow_steps", "temperature"))


def _check_embodiments(asked: Sequence[str], known: Sequence[str], where: str) -> None:
    """Refuses --embodiments that do not exist, before any work is done.

    Args:
        asked: embodiments that the user names.
        known: embodiments that exist.
        where: what they belong to, for the message.

    Raises:
        InputError: there is no such embodiment.
    """
    for name in asked:
        if name not in known:
            raise unknown_name(f"embodiment {where}", name, set(known), "Give some of these with --embodiments")


def _check_given(config: EvaluateConfig) -> None:
    """Checks that the run, the questions and the shards exist, before JAX is imported.

    Raises:
        InputError: one of them does not exist or cannot be used.
    """
    if config.run is not None:
        load_config(config.run)
    if config.vqa is not None:
        check_questions(config.vqa)
    if config.held_out is not None:
        check_shards(config.held_out)


def _watch(config: EvaluateConfig, player: ChunkPolicy, factory: EnvFactory, embodiments: Sequence[str]) -> Watched:
    """Plays the episodes with the policy and, for --films-page, with the companions that the environment offers."""
    out = Watched([], {}, [], [])
    seeds = range(config.seed, config.seed + config.episodes)
    options = RolloutOptions(
        config.decode or player.usual_decode,
        config.execute,
        config.batch,
        config.films if config.rollouts else 0,
        config.subtasks,
        config.delay,
    )
    for embodiment in embodiments:
        for split in config.splits:
            chosen = SmallFilms(each=config.films) if config.films_page else None
            result, films = play(player, factory, embodiment, split, seeds, options, chosen)
            out.films[f"{embodiment}/{split}"] = films
            out.results.append(dataclasses.replace(result, batch=config.batch, delay=config.delay))
            if chosen is not None:
                played = [Played("policy", result.each.get("success", ()), by_seed(chosen.films))]
                for who in offered(factory, embodiment, split):
                    beside = SmallFilms([film.seed for film in chosen.films])
                    done = play_companion(who, factory, embodiment, split, seeds, config.batch, beside)
                    out.companions.append(done)
                    played.append(Played(who, done.success, by_seed(beside.films)))
                out.played.append(PlayedWorld(embodiment, split, tuple(played)))
    return out


def show(results: EvaluationResult, as_json: bool) -> None:
    """Prints the results on stdout."""
    if as_json:
        emit_json(json_files.encode(results))
        return
    if results.world:
        told = [name for name in SHARES if any(name in w.each for w in results.world)]
        rows = []
        for w in results.world:
            shares = {"success": w.success, "followed": w.followed, "shortcut": w.shortcut}
            cells = ["-" if (share := shares[name]) is None else f"{100 * share:.0f} %" for name in told]
            rows.append([w.embodiment, w.split, w.episodes, *cells, w.ms_per_prediction])
        table("closed loop", ["embodiment", "split", "episodes", *told, "ms per prediction"], rows)
    if results.companions:
        beside = [[c.who, c.embodiment, c.split, percent(sum(c.success), len(c.success))] for c in results.companions]
        table("in the same episodes", ["who", "embodiment", "split", "success, 95 % interval"], beside)
    for w in results.world:
        if len(set(w.task or ())) > 1:
            rows = _by_task(w)
            table(f"{w.embodiment}, {w.split}: by task", ["task", "episodes", "success, 95 % interval"], rows)
        if w.said is not None:
            counts = Counter(text for episode in w.said for text in episode).most_common(SHOWN_SUBTASKS)
            table(f"{w.embodiment}, {w.split}: subtasks said most", ["subtask", "times"], counts)
    if results.vqa:
        v = results.vqa
        row = [v.questions, f"{100 * v.accuracy:.1f} %", f"{100 * v.baseline:.1f} %"]
        table("VQA, exact match", ["questions", "accuracy", "most common answer of the question's kind"], [row])
    for errors in results.actions:
        columns = ["dimension", "rmse", "mean absolute error", "spread", "rmse / spread (1: always the mean)"]
        of_spread = [
            rmse / spread if spread > 0 else "-" for rmse, spread in zip(errors.rmse, errors.spread, strict=True)
        ]
        lines = zip(errors.names, errors.rmse, errors.mae, errors.spread, of_spread, strict=True)
        table(f"{errors.embodiment}: held-out actions by {errors.decode}, {errors.rows} chunks", columns, lines)
    log(f"evaluated step {results.step} of {results.run}" + (f", served at {results.policy}" if results.policy else ""))


def _by_task(result: WorldResult) -> list[list[object]]:
    """Returns a table row per kind of task, in the order in which they were played: name, number of episodes, success."""
    each: dict[str, list[int]] = {}
    for task, success in zip(result.task or (), result.each["success"], strict=True):
        each.setdefault(task, []).append(success)
    return [[task, len(done), percent(sum(done), len(done))] for task, done in each.items()]


def _check_numbers(config: EvaluateConfig) -> None:
    """Refuses numbers that allow no evaluation, before any work is done.

    Raises:
        InputError: a number is below what is expected, --execute is not above 0 and at most 1, or --splits is empty.
    """
    for name in ("episodes", "batch", "vqa_questions", "held_out_rows"):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; expected at least 1")
    if config.seed < 0:
        raise InputError(f"--seed is {config.seed}; expected at least 0: worlds have no episodes of negative seeds")
    if not 0 < config.execute <= 1:
        raise InputError(
            f"--execute is {config.execute:g}; expected a share of each chunk, above 0 and at most 1, such as 0.5"
        )
    if config.env and not config.splits:
        raise InputError("--splits names none; expected at least one split of the environment, such as --splits seen")


def _check_files(config: EvaluateConfig) -> None:
    """Refuses output files that may not be written, before any work is done.

    Raises:
        InputError: a file exists already, is one that the command reads, is named twice or cannot be written; or there is nothing
            to film.
    """
    for flag, file in (("--films-page", config.films_page), ("--rollouts", config.rollouts)):
        if file is not None and not config.env:
            raise InputError(
                f"{flag} shows episodes in a world, and there is no --env; expected module:factory, such as "
                "--env examples.tabletop.env:make_vector"
            )
    if config.films_page is not None and config.films < 1:
        raise InputError(
            f"--films is {config.films}; --films-page shows so many failures and successes, so expected 1 or more"
        )
    before: dict[Path, str] = {}
    for flag, file in (("--out", config.out), ("--rollouts", config.rollouts), ("--films-page", config.films_page)):
        if file is not None:
            if other := before.get(file.absolute()):
                raise InputError(f"{flag} {file} is also {other}; give each a file of its own")
            check_output_file(file, before, overwrite=config.overwrite, flag=flag)
            _check_not_read(config, file, flag)
            before[file.absolute()] = flag


def _check_not_read(config: EvaluateConfig, file: Path, flag: str) -> None:
    """Refuses to replace a file of the run, of the questions or of the shards.

    Earlier results may be in the run's folder: they are not files of the run, so they may be replaced.

    Raises:
        InputError: `file` is one of these files.
    """
    if not file.exists():
        return
    for read, kind in ((config.run, RUN), (config.vqa, None), (config.held_out, None)):
        if read is not None and file.resolve().is_relative_to(read.resolve()):
            inside = file.resolve().relative_to(read.resolve()).as_posix()
            if kind is None or kind.wrote(inside):
                raise InputError(
                    f"{flag} {file} is a file of {read}, which the command reads, so it will not be overwritten; choose another "
                    f"{flag}"
                )


def command(argv: list[str]) -> None:
    """Runs `fasttok-evaluate`, or `fasttok-evaluate replay` if the first word says so."""
    if completion.is_asked(argv):
        from train.replay.command import ReplayConfig

        verbs = {"": completion.CompletedVerb(EvaluateConfig), "replay": completion.CompletedVerb(ReplayConfig)}
        completion.print_completion("fasttok-evaluate", verbs, argv)
        return
    if argv[:1] == ["replay"]:
        from train.replay.command import command as replay

        replay(argv[1:])
        return
    set_up_jax()
    main(tyro.cli(EvaluateConfig, prog="fasttok-evaluate", args=argv), shlex.join(["fasttok-evaluate", *argv]))


if __name__ == "__main__":
    script()
