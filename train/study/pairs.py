"""Finds pairs of runs that differ only in insulation: an insulated and a joint run of the same condition and seed.

The recipes decide which arms are a pair. Both have the same base VLM, shards, budget and flags of `fasttok-train`, except
--model.insulation, which is 0 everywhere in one and 1 everywhere in the other. Imports no JAX.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from train.config import TrainConfig
from train.judging.wilson import wilson
from train.study.arm_config import parse
from train.study.study_result import ArmResult, StudyResult

TOKENS, SUCCESS = "error/tokens", "success/"
SAME_BUDGET = 0.01  # relative difference of budgets that count as equal, as they are rounded to whole steps


@dataclass(frozen=True)
class SplitDifference:
    """Success of the insulated run minus that of joint training, on one split.

    Attributes:
        difference: difference of the shares of successes, in [-1, 1].
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class InsulationPair:
    """An insulated and a joint run that differ in nothing else.

    Attributes:
        study: title of the study that has both.
        insulated: name of the insulated arm.
        joint: name of the joint arm.
        condition: digest of everything that the two have in common, without the seed.
        seed: seed of both runs.
        date: date of the study's results, as YYYY-MM-DD.
        token_error: action error of the insulated run on held-out chunks, decoded from its tokens; always predicting the mean
            gives 1.
        base_vqa: share of right answers of the base VLM; None if it was not asked.
        success: maps each split to the difference in success.
    """

    study: str
    insulated: str
    joint: str
    condition: str
    seed: int
    date: str
    token_error: float
    base_vqa: float | None
    success: dict[str, SplitDifference]


@dataclass(frozen=True)
class FoundPairs:
    """The pairs of several studies.

    Attributes:
        pairs: one pair per condition and seed.
        repeats: number of pairs that do not count, because a later study measured the same condition and seed again.
        searched: pairs of arms that are left out because a search gave them different values, in words.
    """

    pairs: tuple[InsulationPair, ...]
    repeats: int
    searched: tuple[str, ...]


def newcombe(ours: int, of_ours: int, theirs: int, of_theirs: int) -> SplitDifference:
    """Returns the difference of two shares with its interval by Newcombe (1998, Statistics in Medicine 17, 873-890, method 10).

    The method assumes independent episodes. The two runs of a pair meet the same scenes, so the interval is rather too wide.

    Args:
        ours: successes of the first run.
        of_ours: episodes of the first run.
        theirs: successes of the run to compare with.
        of_theirs: episodes of the run to compare with.

    >>> found = newcombe(56, 70, 48, 80)  # the paper's first example
    >>> round(found.difference, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    first, second = ours / of_ours, theirs / of_theirs
    (low1, high1), (low2, high2) = wilson(ours, of_ours), wilson(theirs, of_theirs)
    gap = first - second
    return SplitDifference(
        gap,
        gap - ((first - low1) ** 2 + (high2 - second) ** 2) ** 0.5,
        gap + ((high1 - first) ** 2 + (second - low2) ** 2) ** 0.5,
    )


def recipe(result: StudyResult, arm: ArmResult) -> TrainConfig:
    """Returns the configuration of an arm, without its seed, its preset's name and the value that a search chose for it.

    Raises:
        InputError: `fasttok-train` does not know the arm's flags, or no longer knows them.
    """
    config = parse((*shlex.split(result.common), *shlex.split(arm.flags)), Path(arm.shards), Path("RUN"))
    return replace(config, preset="", size="", seed=0)


def searched(result: StudyResult, arm: ArmResult) -> str:
    """Returns the value that the search before the study chose for an arm; "" without a search."""
    tried = result.tuned.get(arm.arm)
    return min(tried, key=lambda value: tried[value]) if tried else ""


def common(config: TrainConfig, share: float) -> TrainConfig | None:
    """Returns the recipe without its insulation, if that is `share` in every layer and at every step, else None.

    Args:
        config: configuration of an arm.
        share: 0 for an insulated arm, 1 for a joint one.
    """
    if not config.model.flow or config.insulation_schedule or set(config.model.shares) != {share}:
        return None
    return replace(config, model=replace(config.model, insulation=(0.0,)))


def pairs_of(result: StudyResult, own_values: bool = False) -> tuple[list[InsulationPair], list[str]]:
    """Returns the pairs of one study, and those that are left out because a search gave their arms different values.

    Args:
        result: the study's result.
        own_values: whether arms are a pair even if a search gave them different values.

    Raises:
        InputError: as `recipe` raises it.
    """
    recipes = {arm.arm: recipe(result, arm) for arm in result.arms if TOKENS in arm.metrics}
    out: list[InsulationPair] = []
    left: list[str] = []
    for ours in result.arms:
        shared = common(recipes[ours.arm], 0.0) if ours.arm in recipes else None
        if shared is None:
            continue
        for theirs in result.arms:
            same = theirs.arm in recipes and common(recipes[theirs.arm], 1.0) == shared
            same = same and (theirs.start, theirs.held_out) == (ours.start, ours.held_out)
            if not same or not _same_budget(ours, theirs):
                continue
            if searched(result, ours) != searched(result, theirs) and not own_values:
                left.append(f"{ours.arm} and {theirs.arm} of {result.study!r}")
                continue
            out += _by_seed(result, ours, theirs, shared)
    return out, left


def _same_budget(ours: ArmResult, theirs: ArmResult) -> bool:
    return abs(ours.robot_samples - theirs.robot_samples) <= SAME_BUDGET * ours.robot_samples


def _by_seed(result: StudyResult, ours: ArmResult, theirs: ArmResult, shared: TrainConfig) -> list[InsulationPair]:
    """Returns a pair for each seed of two arms."""
    splits = [s for s in result.splits if all(f"{SUCCESS}{s}" in arm.metrics for arm in (ours, theirs))]
    stage = next((recipe(result, arm).to_json() for arm in result.arms if arm.arm == ours.start), None)
    told = [
        shared.to_json(),
        stage,
        ours.held_out,
        [result.world, result.env, result.data],
        result.base.flags,
        result.base.shards,
        round(ours.robot_samples),
        searched(result, ours),
    ]
    condition = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
    out = []
    for i, seed in enumerate(result.seeds):
        success = {}
        for split in splits:
            success[split] = newcombe(*_successes(result, ours, split, i), *_successes(result, theirs, split, i))
        vqa = result.base.vqa
        out.append(
            InsulationPair(
                study=result.study,
                insulated=ours.arm,
                joint=theirs.arm,
                condition=condition,
                seed=seed,
                date=result.date,
                token_error=ours.metrics[TOKENS].seeds[i],
                base_vqa=None if vqa is None else vqa.accuracy,
                success=success,
            )
        )
    return out


def _successes(result: StudyResult, arm: ArmResult, split: str, seed: int) -> tuple[int, int]:
    """Returns the successes of an arm's run on a split, and its episodes of all embodiments.

    Args:
        result: the study; older files say only how many episodes each embodiment has, and are taken to have one embodiment.
        arm: the arm.
        split: the split.
        seed: place of the run's seed among the study's seeds.
    """
    name = f"{SUCCESS}{split}"
    episodes = arm.counts.get(name, result.episodes)
    return round(episodes * arm.metrics[name].seeds[seed]), episodes


def find_pairs(results: Iterable[StudyResult], own_values: bool = False) -> FoundPairs:
    """Finds all pairs of several studies. If a condition and seed was measured repeatedly, the newest pair counts.

    Args:
        results: the results of the studies.
        own_values: as in `pairs_of`.

    Raises:
        InputError: as `recipe` raises it.
    """
    newest: dict[tuple[str, int], InsulationPair] = {}
    every: list[InsulationPair] = []
    left: list[str] = []
    for result in results:
        pairs, without = pairs_of(result, own_values)
        every += pairs
        left += without
    for pair in sorted(every, key=lambda pair: pair.date):
        newest[pair.condition, pair.seed] = pair
    return FoundPairs(tuple(newest.values()), len(every) - len(newest), tuple(left))
