"""From runs to numbers with intervals: arms on their own, against the reference in pairs, and along training."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok._version import DISTRIBUTION
from train.study.plan import Study

RESAMPLES = 4000
SHARES = ("success", "followed", "shortcut")
Result = dict[str, Any]
Each = list[NDArray[np.float64]]  # per seed, the episodes' (or questions') values; one value where a seed has only one


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % bootstrap interval; `seeds`: each seed's own mean."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": list(self.seeds)}


def estimate(each: Each, rng_seed: int = 0) -> Estimate:
    """Bootstraps seeds, and within each drawn seed its episodes: the interval holds both kinds of chance.

    Few seeds make it too narrow: with three, the true coverage of the between-seed part is nearer 80 than 95 %.

    >>> estimate([np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0])]).mean
    0.75
    """
    rng, seeds = np.random.default_rng(rng_seed), len(each)
    drawn = rng.integers(seeds, size=(RESAMPLES, seeds))
    means = np.zeros((RESAMPLES, seeds))
    for seed, values in enumerate(each):
        rows, columns = np.nonzero(drawn == seed)
        means[rows, columns] = values[rng.integers(len(values), size=(len(rows), len(values)))].mean(1)
    low, high = np.quantile(means.mean(1), [0.025, 0.975])
    own = tuple(float(values.mean()) for values in each)
    return Estimate(float(np.mean(own)), float(low), float(high), own)


def difference(ours: Each, theirs: Each) -> Estimate | None:
    """What is `ours` minus `theirs`, seed by seed and episode by episode; None where they do not pair."""
    if [len(a) for a in ours] != [len(b) for b in theirs]:
        return None
    return estimate([a - b for a, b in zip(ours, theirs, strict=True)])


def values_of(result: Result, point: int = -1) -> dict[str, NDArray[np.float64]]:
    """Metric -> values of one run at one point of its curve (the last by default).

    Metrics: success|followed|shortcut/SPLIT (episodes of all embodiments), success/SPLIT/TASK, vqa
    (questions), error/DECODE (held-out action error), ms/DECODE (per chunk of `batch` rows).
    """
    at, out = result["curve"][point], {}
    for split in dict.fromkeys(w["split"] for w in at["world"]):
        worlds = [w for w in at["world"] if w["split"] == split]
        for name in SHARES:
            if all(name in w["each"] for w in worlds):
                out[f"{name}/{split}"] = np.concatenate([np.array(w["each"][name], float) for w in worlds])
        tasks = np.concatenate([np.array(w.get("task", [])) for w in worlds])
        for task in sorted(set(tasks.tolist())):
            out[f"success/{split}/{task}"] = out[f"success/{split}"][tasks == task]
    for decode in dict.fromkeys(a["decode"] for a in at["actions"]):
        found = [a for a in at["actions"] if a["decode"] == decode]
        out[f"error/{decode}"] = np.array([np.mean([a["nrmse"] for a in found])])
        out[f"ms/{decode}"] = np.array([np.mean([a["ms_per_chunk"] for a in found])])
    if at["vqa"]:
        out["vqa"] = np.array(at["vqa"]["each"], float)
    return out


def steps_to(result: Result, threshold: float, split: str) -> float:
    """Robot samples after which success on `split` first reaches the threshold, between points linearly; nan if never."""
    before = (0.0, 0.0)
    for point, at in enumerate(result["curve"]):
        values = values_of(result, point).get(f"success/{split}")
        if values is None:
            continue
        now = (at["robot_samples"], float(values.mean()))
        if now[1] >= threshold:
            share = (threshold - before[1]) / (now[1] - before[1]) if now[1] > before[1] else 1.0
            return before[0] + share * (now[0] - before[0])
        before = now
    return float("nan")


def summarize(study: Study, found: dict[str, Any]) -> dict[str, Any]:
    """All that the table and the page show."""
    base = found["base"]["curve"][-1]["vqa"]
    reference = [values_of(r) for r in found["runs"][study.reference].values()]
    arms = []
    for arm in study.arms:
        runs = list(found["runs"][arm.name].values())
        own = [values_of(run) for run in runs]
        names = [name for name in own[0] if all(name in values for values in own)]
        metrics = {name: estimate([values[name] for values in own]) for name in names}
        against = {
            name: difference([v[name] for v in own], [v[name] for v in reference])
            for name in names
            if all(name in v for v in reference) and arm.name != study.reference
        }
        if base and "vqa" in metrics:
            against["vqa, before"] = difference([v["vqa"] for v in own], [np.array(base["each"], float)] * len(own))
        reached = [steps_to(run, study.evaluate.threshold, study.evaluate.splits[0]) for run in runs]
        arms.append({
            "arm": arm.name, "flags": shlex.join(arm.flags), "shards": arm.shards, "match": arm.match,
            "steps": runs[0]["steps"], "robot_samples": runs[0]["steps"] * runs[0]["robot_samples_per_step"],
            "tflop": runs[0]["steps"] * runs[0]["tflop_per_step"], "seconds": [r["seconds"]["train"] for r in runs],
            "metrics": {name: e.to_json() for name, e in metrics.items()},
            "against": {name: e.to_json() for name, e in against.items() if e is not None},
            "robot_samples_to_threshold": [None if np.isnan(n) else n for n in reached],
            "curve": curve(runs),
        })  # fmt: skip
    return {
        "study": study.name, "question": study.question, "reference": study.reference, "seeds": list(study.seeds),
        "splits": list(study.evaluate.splits), "episodes": study.evaluate.episodes, "threshold": study.evaluate.threshold,
        "base": {"flags": shlex.join(study.base.flags), "shards": study.base.shards,
                 "vqa": base and {k: base[k] for k in ("accuracy", "baseline", "questions")}},
        "common": shlex.join(study.common), "tuned": found["tuned"], "arms": arms,
        "seconds": sum(sum(r["seconds"].values()) for runs in found["runs"].values() for r in runs.values()),
        "hardware": found["base"]["device"], "date": date.today().isoformat(),
        "versions": {name: version(name) for name in (DISTRIBUTION, "jax", "optax", "numpy")},
    }  # fmt: skip


def curve(runs: Sequence[Result]) -> list[dict[str, Any]]:
    """Metrics with intervals at each point that all seeds have."""
    out = []
    for point in range(min(len(run["curve"]) for run in runs)):
        values = [values_of(run, point) for run in runs]
        at = runs[0]["curve"][point]
        row: dict[str, Any] = {name: at[name] for name in ("step", "robot_samples", "tflop")}
        for name in values[0]:
            if all(name in v for v in values):
                row[name] = estimate([v[name] for v in values]).to_json()
        out.append(row)
    return out
