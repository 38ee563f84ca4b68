"""Carries a study out: fasttok-study run presets --env module:factory --data module:function."""

import dataclasses
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fasttok.common import completion
from fasttok.common.console import emit_json, log, table
from fasttok.common.flags import OPTIONAL
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError, require, require_installed
from train.given_paths import TRAINING
from train.study.packaged_studies import find_study, names, packaged_studies
from train.study.study_file import load_study

RUN, FIGURE, LIST = "run", "figure", "list"


@dataclass(frozen=True)
class StudyConfig:
    """Trains every arm of a study with every seed, measures all runs, and writes tables and a page that compares the arms.

    An arm is one of the recipes that a study compares. You may leave out the word run. `fasttok-study list` names the studies
    that come with fasttok. `fasttok-study figure` draws what insulation gains or costs in several studies. The tabletop world of
    the example is in the folder `examples` of the repository, which pip does not install: clone the repository and run the
    command in its folder, or name a world of your own.

    Example: fasttok-study run presets --env examples.tabletop.env:make_vector --data examples.tabletop.study:prepare
    """

    study: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """Name of a study that comes with fasttok (`fasttok-study list`), or a YAML file of your own."""
    env: Annotated[str, tyro.conf.arg(metavar="MODULE:FACTORY|WORLD.yaml")]
    """World in which the runs act: module:factory (train/rollouts.py), or a YAML file of a world (docs/worlds.md)."""
    data: Annotated[str, tyro.conf.arg(metavar="FOLDER|MODULE:FUNCTION")]
    """Folder with the study's shards, or module:function that makes them (docs/judging.md)."""
    out: Path = Path("studies")
    """Folder for all studies. OUT/NAME gets a study's tables and page; all studies share OUT/runs and OUT/data.
    If you run the same command again, it does only what is missing."""
    smoke: bool = False
    """Run a tiny version of the study, in minutes, to see whether everything works: few arms, steps and episodes.
    Its results are in OUT/smoke, and their numbers mean nothing."""
    only: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Names of arms to run. By default all arms.
    The reference arm, with which the others are compared, always runs, and so do arms from which these start."""
    seeds: int = 0
    """Number of seeds to use, the first ones of the study. 0: all."""
    jobs: int = 1
    """Number of runs that train at the same time, each on its share of the cores.
    Use it for small models on a CPU, which finish sooner this way."""
    json: bool = False
    """Print the table as JSON on stdout."""


@dataclass(frozen=True)
class ListStudiesConfig:
    """Lists the studies that come with fasttok.

    Example: fasttok-study list
    """

    json: bool = False
    """Print the list as JSON on stdout."""


def main(config: StudyConfig) -> None:
    """Carries the study out, and writes its tables and its page.

    Raises:
        InputError: something is wrong with the study, the data or a run; the message says what to do.
    """
    config = dataclasses.replace(config, study=find_study(config.study))
    study = load_study(config.study)
    if config.only:
        study = study.with_arms(config.only)
    if config.seeds < 0:
        raise InputError(f"--seeds is {config.seeds}; expected how many of the study's seeds to use, or 0 for all")
    if config.seeds > len(study.seeds):
        raise InputError(
            f"--seeds is {config.seeds}, and {config.study} has {len(study.seeds)}: {', '.join(map(str, study.seeds))}; expected "
            "at most that many. Write more into the study's file"
        )
    if config.seeds:
        study = dataclasses.replace(study, seeds=study.seeds[: config.seeds])
    if config.smoke:
        study = study.smoke()
    require_installed(TRAINING, "train", "a study")
    if not config.env:
        raise InputError("--env is empty; expected module:factory, such as examples.tabletop.env:make_vector")
    from train.rollouts import load_factory
    from train.study.study_data import StudyInputs, check_data, prepare_data

    load_factory(config.env)
    check_data(study, config.data)
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):  # only now, as this takes seconds
        require(package, "train", "a study")
    from train.study import study_page, tables
    from train.study.processes import Pool
    from train.study.runner import carry_out
    from train.study.summary import summarize

    began = time.monotonic()
    root = config.out / "smoke" if config.smoke else config.out
    out = root / config.study.stem
    pool = Pool(root / "runs", config.jobs)
    check_output(out, tables.STUDY, resume=True).begin()
    inputs = StudyInputs(prepare_data(study, config.data, root / "data", config.smoke), config.env)
    done = carry_out(study, inputs, pool)
    result = summarize(study, done, config.env, config.data)
    typed = shlex.join(["fasttok-study", *sys.argv[1:]])
    tables.write(result, typed, out)
    study_page.write(study, result, done.film_files, out / "study.html", typed)
    if config.json:
        emit_json(result.to_json())
    else:
        for shown in (tables.overview(result), tables.compared(result)):
            table(shown.title, shown.columns, shown.rows)
    log(f"{time.monotonic() - began:.0f} s; open {out / 'study.html'}; tables: {out / 'results.md'}")


def list_studies(config: ListStudiesConfig) -> None:
    """Prints the studies that come with fasttok."""
    studies = packaged_studies()
    if config.json:
        emit_json([dataclasses.asdict(study) for study in studies])
        return
    table("", ["study", "arms", "runs", "question"], [[s.name, s.arms, s.runs, s.question] for s in studies])
    log(f"next: fasttok-study run {studies[0].name} --help")


def command(argv: list[str]) -> None:
    """Carries out a command line: `run` (this word may be left out), `list` or `figure`."""
    if completion.is_asked(argv):
        from train.study.figure_command import FigureConfig

        verbs = {
            RUN: completion.CompletedVerb(StudyConfig, tuple(names())),
            LIST: completion.CompletedVerb(ListStudiesConfig),
            FIGURE: completion.CompletedVerb(FigureConfig),
        }
        completion.print_completion("fasttok-study", verbs, argv)
        return
    verb, *rest = argv or [RUN]
    if verb == LIST:
        list_studies(tyro.cli(ListStudiesConfig, prog=f"fasttok-study {LIST}", args=rest))
        return
    if verb == FIGURE:
        from train.study.figure_command import command as figure

        figure(rest)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a study that is stopped stops its runs
    main(tyro.cli(StudyConfig, prog="fasttok-study run", args=rest if verb == RUN else argv))
