"""Carries a study out: trains the base VLM, runs the search, then trains every arm with every seed."""

from dataclasses import dataclass
from pathlib import Path

from fasttok.common.console import log
from fasttok.errors import InputError
from train.study.grid import RunGrid
from train.study.processes import Pool
from train.study.run_result import RunResult
from train.study.run_spec import MODEL
from train.study.spec import HELD_OUT, Study
from train.study.study_data import StudyInputs

Tuned = dict[str, dict[str, float]]
"""Maps each arm and each value that the search tried to the held-out action error."""


@dataclass(frozen=True)
class StudyRuns:
    """The results of all runs of a study.

    Attributes:
        base: result of the base VLM.
        tuned: action errors of the search; {} without a search.
        runs: maps each arm and each seed (as a string) to the result.
        film_files: maps each arm to the file with the films of its first seed; the file may be missing.
    """

    base: RunResult
    tuned: Tuned
    runs: dict[str, dict[str, RunResult]]
    film_files: dict[str, Path]


def carry_out(study: Study, inputs: StudyInputs, pool: Pool) -> StudyRuns:
    """Makes all runs that are not done yet: the base VLM, the search, then every arm with every seed (`Study.rounds`).

    Args:
        study: the study.
        inputs: data and world of the study.
        pool: makes the runs; studies whose pools have the same folder share the runs that they have in common.

    Raises:
        InputError: a search has no held-out shards, or a run failed (the message names its log).
    """
    grid = RunGrid(study, inputs)
    if study.tune is not None and not grid.held_out:
        raise InputError(f"a search needs held-out shards in {inputs.data / HELD_OUT}")
    (base,) = Pool(pool.runs).carry_out([grid.base()])  # on all cores, as everything waits for it
    start = pool.folder(grid.base()) / MODEL

    chosen: dict[str, tuple[str, ...]] = {arm.name: () for arm in study.arms}
    tuned: Tuned = {}
    if study.tune is not None:
        tries = grid.tries(start)
        for (arm, value, _), result in zip(tries, pool.carry_out([run for *_, run in tries]), strict=True):
            tuned.setdefault(arm.name, {})[value] = result.action_error
        for name, errors in tuned.items():
            chosen[name] = (study.tune.flag, min(errors, key=lambda value: errors[value]))
            log(f"{name}: {' '.join(chosen[name])}")

    results: dict[str, dict[str, RunResult]] = {arm.name: {} for arm in study.arms}
    film_files: dict[str, Path] = {}
    folders = {("", seed): start for seed in study.seeds}
    for arms in study.rounds:
        asked = []
        for seed in study.seeds:
            for arm in arms:
                tflop = results[study.reference][str(seed)].tflop if arm.match == "flops" else None
                run = grid.run(arm, seed, folders[arm.start, seed], chosen[arm.name], tflop)
                folders[arm.name, seed] = pool.folder(run) / MODEL
                asked.append((arm, seed, run))
        for (arm, seed, run), result in zip(asked, pool.carry_out([run for *_, run in asked]), strict=True):
            results[arm.name][str(seed)] = result
            film_files.setdefault(arm.name, pool.files(run).film_file)
    return StudyRuns(base, tuned, results, film_files)
