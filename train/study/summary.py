"""Turns runs into numbers with intervals: of each arm, against the reference arm in pairs, and along training."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from fasttok._version import DISTRIBUTION
from train.judging.measurements import SHARES
from train.study.intervals import difference, estimate
from train.study.run_result import RunResult
from train.study.runner import StudyRuns
from train.study.spec import Arm, Study
from train.study.study_result import ArmResult, BaseResult, BaseVqa, CurveRow, StudyResult

Values = dict[str, NDArray[np.float64]]
"""Maps each metric to its values in one run, (n,)."""


def values_of(result: RunResult, point: int = -1) -> Values:
    """Returns the values of each metric of one run at one point of its curve (the last by default).

    The metrics are success/SPLIT, followed/SPLIT and shortcut/SPLIT (one value per episode, of all embodiments),
    success/SPLIT/TASK, vqa (one value per question), error/DECODE (held-out action error) and ms/DECODE (time per chunk, when
    `batch` rows are predicted at once).
    """
    at = result.curve[point]
    out: Values = {}
    for split in dict.fromkeys(w.split for w in at.world):
        worlds = [w for w in at.world if w.split == split]
        for name in SHARES:
            if all(name in w.each for w in worlds):
                out[f"{name}/{split}"] = np.concatenate([np.array(w.each[name], float) for w in worlds])
        told = all(w.task is not None for w in worlds)  # else nobody knows the tasks of some of the split's episodes
        tasks = np.array([task for w in worlds for task in w.task or ()] if told else [])
        for task in sorted(set(tasks.tolist())):
            out[f"success/{split}/{task}"] = out[f"success/{split}"][tasks == task]
    for decode in dict.fromkeys(a.decode for a in at.actions):
        errors = [a for a in at.actions if a.decode == decode]
        out[f"error/{decode}"] = np.array([np.mean([a.nrmse for a in errors])])
        out[f"ms/{decode}"] = np.array([np.mean([a.ms_per_chunk for a in errors])])
    if at.vqa:
        out["vqa"] = np.array(at.vqa.each, float)
    return out


def steps_to(result: RunResult, threshold: float, split: str) -> float:
    """Returns the robot samples at which success on `split` first reaches the threshold, interpolated linearly; nan if never."""
    before = (0.0, 0.0)
    for point, at in enumerate(result.curve):
        values = values_of(result, point).get(f"success/{split}")
        if values is None:
            continue
        now = (at.robot_samples, float(values.mean()))
        if now[1] >= threshold:
            share = (threshold - before[1]) / (now[1] - before[1]) if now[1] > before[1] else 1.0
            return before[0] + share * (now[0] - before[0])
        before = now
    return float("nan")


def summarize(study: Study, done: StudyRuns, env: str, data: str) -> StudyResult:
    """Returns everything that the tables and the page show.

    Args:
        study: the study.
        done: the results of its runs.
        env: environment of the study, as the command line names it.
        data: data of the study, as the command line names it.
    """
    base = done.base.curve[-1].vqa
    values = {name: [values_of(run) for run in runs.values()] for name, runs in done.runs.items()}
    before = None if base is None else np.array(base.each, float)
    arms = [summarize_arm(study, arm, list(done.runs[arm.name].values()), values, before) for arm in study.arms]
    return StudyResult(
        study=study.name,
        question=study.question,
        reference=study.reference,
        seeds=study.seeds,
        splits=study.evaluate.splits,
        episodes=study.evaluate.episodes,
        threshold=study.evaluate.threshold,
        base=BaseResult(
            shlex.join(study.base.flags),
            study.base.shards,
            None if base is None else BaseVqa(base.accuracy, base.baseline, base.questions),
        ),
        common=shlex.join(study.common),
        tuned=done.tuned,
        arms=tuple(arms),
        seconds=sum(r.seconds.train + r.seconds.measure for runs in done.runs.values() for r in runs.values()),
        hardware=done.base.device,
        date=date.today().isoformat(),
        world=", ".join(f"{name} {value}" for name, value in sorted(study.world.items())),
        env=env,
        data=data,
        versions={name: version(name) for name in (DISTRIBUTION, "jax", "optax", "numpy")},
    )


def summarize_arm(
    study: Study,
    arm: Arm,
    runs: Sequence[RunResult],
    values: Mapping[str, Sequence[Values]],
    before: NDArray[np.float64] | None,
) -> ArmResult:
    """Returns the result of an arm.

    Args:
        study: names the reference arm and the threshold.
        arm: the arm.
        runs: its runs, one for each seed.
        values: name of each arm -> values of its runs, one for each seed.
        before: (n,) answers of the base VLM, 1 if right and 0 if wrong; None if it was not asked.
    """
    own, reference = values[arm.name], values[arm.against or study.reference]
    names = [name for name in own[0] if all(name in v for v in own)]
    against = {
        name: difference([v[name] for v in own], [v[name] for v in reference])
        for name in names
        if all(name in v for v in reference) and arm.name != study.reference
    }
    if before is not None and "vqa" in names:
        against["vqa, before"] = difference([v["vqa"] for v in own], [before] * len(own))
    reached = [steps_to(run, study.evaluate.threshold, study.evaluate.splits[0]) for run in runs]
    return ArmResult(
        arm=arm.name,
        flags=shlex.join(arm.flags),
        shards=arm.shards,
        match=arm.match,
        steps=runs[0].steps,
        robot_samples=runs[0].steps * runs[0].robot_samples_per_step,
        tflop=runs[0].tflop,
        seconds=tuple(run.seconds.train for run in runs),
        metrics={name: estimate([v[name] for v in own]) for name in names},
        against={name: e for name, e in against.items() if e is not None},
        robot_samples_to_threshold=tuple(None if np.isnan(n) else n for n in reached),
        curve=tuple(curve(runs)),
        start=arm.start,
        held_out=arm.held_out,
        compared_with=arm.against,
        counts={name: len(own[0][name]) for name in names},
    )


def curve(runs: Sequence[RunResult]) -> list[CurveRow]:
    """Returns metrics with intervals at each point that all seeds have."""
    out = []
    for point in range(min(len(run.curve) for run in runs)):
        values = [values_of(run, point) for run in runs]
        at = runs[0].curve[point]
        names = [name for name in values[0] if all(name in v for v in values)]
        metrics = {name: estimate([v[name] for v in values]) for name in names}
        out.append(CurveRow(at.step, at.robot_samples, at.tflop, metrics))
    return out
