"""Defines a study: its arms, its seeds, and how every run is measured. Imports no JAX.

Recipes, rates and schedules are chosen on other seeds and episodes than those that are reported. A study with purpose `choose`
uses seeds from `CHOOSING_SEED` on and episodes from `CHOOSING_EPISODES` on, which no report uses.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fasttok.errors import InputError, unknown_name

Purpose = Literal["report", "choose"]
"""Purpose of a study's numbers: to report them, or to choose a recipe that another study then reports."""
CHOOSING_SEED, CHOOSING_EPISODES = 1000, 3_000_000
HELD_OUT = "held_out"
Match = Literal["robot_samples", "flops"]
"""The budget that an arm shares with the reference arm: robot rows to learn from, or TFLOP to spend."""


@dataclass(frozen=True)
class Arm:
    """One recipe that a study compares.

    Attributes:
        name: name in tables and plots, and of its folders.
        flags: flags of `fasttok-train`, in addition to the study's `common`.
        shards: folder in the study's data that it learns from.
        match: the budget that it shares with the reference arm.
        start: arm from whose run of the same seed it starts; "" for the base VLM. Its expert is new, unless the flags contain
            --init-from-expert.
        robot_samples: number of robot rows that it learns from; None: the study's number.
        held_out: folder in the study's data with the shards on which its actions are measured.
        against: arm that it is compared with, such as one with the same budget; "" for the reference arm.
    """

    name: str
    flags: tuple[str, ...]
    shards: str = "shards"
    match: Match = "robot_samples"
    start: str = ""
    robot_samples: int | None = None
    held_out: str = HELD_OUT
    against: str = ""


@dataclass(frozen=True)
class Tuning:
    """A short search for each arm before the study: the value with the smallest held-out action error wins.

    Attributes:
        flag: flag of `fasttok-train` whose value is searched.
        values: values to try.
        share: share of the arm's robot samples that each try learns from.
        seed: seed of all tries; not one of the study's.
    """

    flag: str
    values: tuple[str, ...]
    share: float = 0.3
    seed: int = 1000


@dataclass(frozen=True)
class Evaluation:
    """How each run is measured.

    Attributes:
        splits: splits of the environment; the first one also gives the curves.
        episodes: number of episodes per embodiment and split at the last checkpoint.
        checkpoints: number of evenly spaced points at which each run is measured.
        curve_episodes: number of episodes per embodiment at all points but the last.
        rows: number of held-out rows per embodiment.
        questions: number of questions from the VQA dataset.
        seed: seed of the first episode; every run meets the same episodes.
        batch: number of rows that are predicted at once.
        films: number of episodes per embodiment and split whose frames are kept.
        threshold: share of successes up to which the column "robot samples to" counts.
        temperature: temperature of action tokens, for runs that act by them; 1 samples, as the flow does.
    """

    splits: tuple[str, ...] = ("seen",)
    episodes: int = 100
    checkpoints: int = 4
    curve_episodes: int = 50
    rows: int = 256
    questions: int = 400
    seed: int = 1_000_000
    batch: int = 50
    films: int = 6
    threshold: float = 0.5
    temperature: float = 1.0


@dataclass(frozen=True)
class Study:
    """A grid of arms x seeds. The fields are the keys of a study's file (`train.study.study_file`).

    Attributes:
        name: title of the page and of the tables.
        question: the question that the study should answer.
        base: the VLM that all runs start from.
        common: flags of every arm's runs.
        robot_samples: number of robot rows that each run learns from, whatever else it learns from.
        seeds: seeds of each arm's runs.
        purpose: what its numbers are for.
        reference: name of the arm that the others are compared with, in pairs.
        arms: the recipes.
        world: options that both the environment's factory and the function that makes the data take.
        tune: the search before the study; None: no search.
        evaluate: how each run is measured.
    """

    name: str
    question: str
    base: Arm
    common: tuple[str, ...]
    robot_samples: int
    seeds: tuple[int, ...]
    reference: str
    arms: tuple[Arm, ...]
    world: dict[str, Any] = field(default_factory=dict)
    tune: Tuning | None = None
    evaluate: Evaluation = field(default_factory=Evaluation)
    purpose: Purpose = "report"

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of the folders that the base VLM and the arms learn from, and of those besides `held_out` that measure arms."""
        measured = [arm.held_out for arm in self.arms if arm.held_out != HELD_OUT]
        return tuple(dict.fromkeys([self.base.shards, *(arm.shards for arm in self.arms), *measured]))

    @property
    def rounds(self) -> list[list[Arm]]:
        """The arms in the order in which they can run; the arms of a round do not wait for each other.

        An arm with `match: flops` spends as much as the reference arm's runs took, so it waits for a later round.

        Raises:
            InputError: arms wait for each other in a circle.
        """
        out: list[list[Arm]] = []
        done, todo = {""}, list(self.arms)
        while todo:
            ready = [a for a in todo if a.start in done and (a.match != "flops" or self.reference in done)]
            if not ready:
                raise InputError(
                    f"these arms wait for each other: {', '.join(arm.name for arm in todo)}; start must not lead back to "
                    "the same arm, and what the reference arm starts from cannot match its FLOPs"
                )
            out.append(ready)
            done |= {arm.name for arm in ready}
            todo = [arm for arm in todo if arm.name not in done]
        return out

    def arm(self, name: str) -> Arm:
        """Returns an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def with_arms(self, names: tuple[str, ...]) -> "Study":
        """Returns the study with only these arms, the reference arm, and the arms that they start from or are compared with.

        Raises:
            InputError: the study has no such arm.
        """
        for name in names:
            if name not in [arm.name for arm in self.arms]:
                raise unknown_name("arm", name, [arm.name for arm in self.arms])
        return self._with_needed([self.reference, *names])

    def _with_needed(self, names: list[str]) -> "Study":
        """Returns the study with only these arms and the arms that they start from or are compared with."""
        kept, todo = set[str](), list(names)
        while todo:
            name = todo.pop()
            if name and name not in kept:
                kept.add(name)
                todo += [self.arm(name).start, self.arm(name).against]
        return dataclasses.replace(self, arms=tuple(arm for arm in self.arms if arm.name in kept))

    def smoke(self) -> "Study":
        """Returns a tiny version of the study, which shows whether everything runs. Its numbers mean nothing."""
        first = [self.arm(self.reference), *[arm for arm in self.arms if arm.name != self.reference]]
        shards = first[0].shards
        plain = [arm for arm in first if arm.shards == shards and arm.match == "robot_samples"]
        names = [self.reference, *[arm.name for arm in plain if arm.name != self.reference][:1]]
        arms = tuple(dataclasses.replace(arm, robot_samples=None) for arm in self._with_needed(names).arms)
        small = dataclasses.replace(
            self.evaluate, splits=self.evaluate.splits[:2], episodes=6, curve_episodes=4, checkpoints=2, rows=20, questions=20,
            batch=10, films=2,
        )  # fmt: skip
        fast = ("--steps", "8", "--batch-size", "16", "--log-every", "4")
        base = dataclasses.replace(self.base, flags=(*self.base.flags, *fast), shards=shards)
        return dataclasses.replace(
            self, name=f"{self.name} (smoke)", base=base, common=(*self.common, *fast[2:]), robot_samples=96,
            seeds=self.seeds[:2], arms=arms, tune=None, evaluate=small,
        )  # fmt: skip
