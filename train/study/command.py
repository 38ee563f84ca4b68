"""Carries a study out: fasttok-study run train/configs/presets.yaml --env module:factory --data module:function."""

import dataclasses
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fasttok.common.console import emit_json, log, table
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError, require
from train.study.study_file import load_study

RUN, FIGURE = "run", "figure"


@dataclass(frozen=True)
class StudyConfig:
    r"""Trains every arm of a study with every seed, evaluates all, and writes a table and a page with intervals.

    The word run may be left out. fasttok-study figure --help: what insulation gains or costs, over all studies.

    Example: fasttok-study run train/configs/presets.yaml --env examples.tabletop.env:make_vector \
        --data examples.tabletop.study:prepare
    """

    study: Annotated[Path, tyro.conf.Positional]
    """File of the study; those that come with fasttok are in train/configs."""
    env: str
    """module:factory of the environment (train/rollouts.py)."""
    data: str
    """Folder with the study's shards, or module:function that makes them (train/study/study_data.py, prepare_data)."""
    out: Path = Path("studies")
    """Folder of all studies: OUT/runs, which they share, OUT/data, and OUT/NAME for each study's tables and page. What is done
    already is kept: the same command goes on."""
    smoke: bool = False
    """Everything once, in minutes: fewer arms, a few steps and episodes. Its numbers mean nothing."""
    only: tuple[str, ...] = ()
    """Only these arms."""
    seeds: int = 0
    """Only the first so many seeds; 0: all."""
    jobs: int = 1
    """Runs at once, each on its share of the cores; small models on a CPU gain from it."""
    json: bool = False
    """Print the table as JSON on stdout."""


def main(config: StudyConfig) -> None:
    """Carries the study out and reports.

    Raises:
        InputError: the study, the data or a run are not in order; each says what to do.
    """
    study = load_study(config.study)
    if config.only:
        study = study.with_arms(config.only)
    if config.seeds:
        study = dataclasses.replace(study, seeds=study.seeds[: config.seeds])
    if config.smoke:
        study = study.smoke()
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "a study")
    from train.rollouts import load_factory
    from train.study import study_page, tables
    from train.study.processes import Pool
    from train.study.runner import carry_out
    from train.study.study_data import StudyInputs, prepare_data
    from train.study.summary import summarize

    if not config.env:
        raise InputError("--env is empty; expected module:factory, such as examples.tabletop.env:make_vector")
    load_factory(config.env)
    began = time.monotonic()
    root = config.out / "smoke" if config.smoke else config.out
    out = root / config.study.stem
    pool = Pool(root / "runs", config.jobs)
    check_output(out, tables.STUDY, resume=True).begin()
    inputs = StudyInputs(prepare_data(study, config.data, root / "data", config.smoke), config.env)
    done = carry_out(study, inputs, pool)
    result = summarize(study, done)
    tables.write(result, shlex.join(["fasttok-study", *sys.argv[1:]]), out)
    study_page.write(study, result, done.film_files, out / "study.html")
    if config.json:
        emit_json(result.to_json())
    else:
        for shown in (tables.overview(result), tables.compared(result)):
            table(shown.title, shown.columns, shown.rows)
    log(f"{time.monotonic() - began:.0f} s; open {out / 'study.html'}; tables: {out / 'results.md'}")


def command(argv: list[str]) -> None:
    """The words of the command line, carried out: `run`, which may be left out, or `figure`."""
    verb, *rest = argv or [RUN]
    if verb == FIGURE:
        from train.study.figure_command import command as figure

        figure(rest)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a study that is stopped stops its runs
    main(tyro.cli(StudyConfig, prog="fasttok-study run", args=rest if verb == RUN else argv))
