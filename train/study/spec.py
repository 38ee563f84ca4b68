"""What a study is: arms, seeds, and how every run is measured. Imports no JAX.

What is chosen (a recipe, a rate, a schedule) is chosen on other seeds and episodes than those that are reported: a study whose
purpose is `choose` takes seeds from `CHOOSING_SEED` on and episodes from `CHOOSING_EPISODES` on, which no report uses.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fasttok.errors import InputError, unknown_name

Purpose = Literal["report", "choose"]
"""What a study's numbers are for: to be reported, or to choose what is then reported."""
CHOOSING_SEED, CHOOSING_EPISODES = 1000, 3_000_000
HELD_OUT = "held_out"
Match = Literal["robot_samples", "flops"]
"""What an arm has as much of as the reference arm: rows of robots to learn from, or TFLOP to spend."""


@dataclass(frozen=True)
class Arm:
    """One recipe that is compared.

    Attributes:
        name: of its rows in tables, its line in plots and its folder.
        flags: of `fasttok-train`, besides the study's `common`.
        shards: folder in the study's data that it learns from.
        match: what it has as much of as the reference arm.
        start: arm from whose run of the same seed it starts; "" for the base VLM. Its expert is new, unless the flags say
            --init-from-expert.
        robot_samples: rows of robots that it learns from, if not as many as the study says.
        held_out: folder in the study's data of the shards on which its actions are measured.
    """

    name: str
    flags: tuple[str, ...]
    shards: str = "shards"
    match: Match = "robot_samples"
    start: str = ""
    robot_samples: int | None = None
    held_out: str = HELD_OUT


@dataclass(frozen=True)
class Tuning:
    """A short search per arm before the study: the value with the smallest held-out action error wins.

    Attributes:
        flag: of `fasttok-train`.
        values: those that are tried.
        share: of the study's samples, for each try.
        seed: of the tries; not one of the study's.
    """

    flag: str
    values: tuple[str, ...]
    share: float = 0.3
    seed: int = 1000


@dataclass(frozen=True)
class Evaluation:
    """How each run is measured.

    Attributes:
        splits: of the environment; the first one also gives the curves.
        episodes: per embodiment and split, at the last checkpoint.
        checkpoints: at how many points, evenly spaced, each run is measured.
        curve_episodes: per embodiment, at all points but the last.
        rows: of held-out shards, per embodiment.
        questions: of the VQA dataset.
        seed: of the first episode; every run meets the same episodes.
        batch: rows of a prediction.
        films: episodes per embodiment and split whose frames are kept.
        threshold: share of successes that "robot samples to" counts up to.
        temperature: of action tokens, for runs that act by them; 1 samples, as the flow does.
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
        question: what the study is to answer.
        base: the VLM that all runs start from.
        common: flags of all runs.
        robot_samples: rows of robots that each run learns from, whatever else it learns from.
        seeds: of the runs of each arm.
        purpose: what its numbers are for.
        reference: name of the arm that the others are compared with, in pairs.
        arms: the recipes.
        world: options that both the environment's factory and the function that makes the data take.
        tune: the search before the study, None for none.
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
        """Folders of shards that the arms learn from, and of those that they are measured on if these are not `held_out`."""
        measured = [arm.held_out for arm in self.arms if arm.held_out != HELD_OUT]
        return tuple(dict.fromkeys([self.base.shards, *(arm.shards for arm in self.arms), *measured]))

    @property
    def rounds(self) -> list[list[Arm]]:
        """The arms in the order in which they can be made; those of a round do not wait for each other.

        What others are to spend (`match: flops`), the runs of the reference arm tell, so those wait for a later round.

        Raises:
            InputError: arms wait for each other.
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
        """An arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def with_arms(self, names: tuple[str, ...]) -> "Study":
        """The same study of fewer arms; the reference arm stays, and so do the arms that these start from.

        Raises:
            InputError: no such arm.
        """
        for name in names:
            if name not in [arm.name for arm in self.arms]:
                raise unknown_name("arm", name, [arm.name for arm in self.arms])
        return self._with_starts([self.reference, *names])

    def _with_starts(self, names: list[str]) -> "Study":
        """The same study of these arms and those that they start from."""
        kept, todo = set[str](), list(names)
        while todo:
            name = todo.pop()
            if name and name not in kept:
                kept.add(name)
                todo.append(self.arm(name).start)
        return dataclasses.replace(self, arms=tuple(arm for arm in self.arms if arm.name in kept))

    def smoke(self) -> "Study":
        """The same study, so small that its numbers mean nothing: does everything run?"""
        first = [self.arm(self.reference), *[arm for arm in self.arms if arm.name != self.reference]]
        shards = first[0].shards
        plain = [arm for arm in first if arm.shards == shards and arm.match == "robot_samples"]
        names = [self.reference, *[arm.name for arm in plain if arm.name != self.reference][:1]]
        arms = tuple(dataclasses.replace(arm, robot_samples=None) for arm in self._with_starts(names).arms)
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
