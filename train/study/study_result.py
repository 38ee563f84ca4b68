"""results.json: what a study found, as its tables and its page show it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fasttok.common import json_files
from fasttok.errors import InputError
from train.study.intervals import Estimate
from train.study.spec import HELD_OUT, Match

CURVE_NUMBERS = ("step", "robot_samples", "tflop")


@dataclass(frozen=True)
class CurveRow:
    """Metrics at one point of training. In the file the metrics are beside the other keys.

    Attributes:
        step: of the first seed's checkpoint.
        robot_samples: rows of robots that training had used.
        tflop: what training had spent.
        metrics: name (see `train.study.summary.values_of`) -> mean over seeds.
    """

    step: int
    robot_samples: float
    tflop: float
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class ArmResult:
    """What an arm reached.

    Attributes:
        arm: its name.
        flags: of `fasttok-train`.
        shards: that it learned from.
        match: what it had as much of as the reference arm.
        steps: of one run.
        robot_samples: rows of robots that one run used.
        tflop: what the training of one run took.
        seconds: wall time of training, per seed.
        metrics: name (see `train.study.summary.values_of`) -> mean over seeds, at the end of training.
        against: the same minus the reference arm's, in pairs; "vqa, before": minus the base VLM's.
        robot_samples_to_threshold: per seed, rows of robots until success first reached the threshold; None: it never did.
        curve: metrics along training.
        start: arm from whose runs it started; "" for the base VLM.
        held_out: shards on which its actions were measured.
    """

    arm: str
    flags: str
    shards: str
    match: Match
    steps: int
    robot_samples: float
    tflop: float
    seconds: tuple[float, ...]
    metrics: dict[str, Estimate]
    against: dict[str, Estimate]
    robot_samples_to_threshold: tuple[float | None, ...]
    curve: tuple[CurveRow, ...]
    start: str = field(default="", metadata=json_files.IF_NOT_DEFAULT)
    held_out: str = field(default=HELD_OUT, metadata=json_files.IF_NOT_DEFAULT)


@dataclass(frozen=True)
class BaseVqa:
    """Answers of the base VLM.

    Attributes:
        accuracy: share of right answers.
        baseline: share that is right when the most common answer of each question's kind is always given.
        questions: how many were asked.
    """

    accuracy: float
    baseline: float
    questions: int


@dataclass(frozen=True)
class BaseResult:
    """The VLM that all runs start from.

    Attributes:
        flags: of `fasttok-train`.
        shards: that it learned from.
        vqa: None if no questions were asked.
    """

    flags: str
    shards: str
    vqa: BaseVqa | None


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        study: its name.
        question: what it was to answer.
        reference: name of the arm that the others are compared with.
        seeds: of each arm's runs.
        splits: of the environment; the first one also gives the curves.
        episodes: per split, embodiment and seed.
        threshold: share of successes that `robot_samples_to_threshold` counts up to.
        base: the VLM that all runs start from.
        common: flags of all runs.
        tuned: arm -> value that the search tried -> its held-out action error; {} without a search.
        arms: in the order of the study's file.
        seconds: wall time of all runs but the base's.
        hardware: accelerators, or the processor.
        date: of the summary, as YYYY-MM-DD.
        versions: of fasttok-vla (older files call it fasttok) and of the libraries that the numbers depend on.
        world: options of the environment, in words; "" in older files, which do not say.
    """

    study: str
    question: str
    reference: str
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    episodes: int
    threshold: float
    base: BaseResult
    common: str
    tuned: dict[str, dict[str, float]]
    arms: tuple[ArmResult, ...]
    seconds: float
    hardware: str
    date: str
    versions: dict[str, str]
    world: str = field(default="", metadata=json_files.IF_NOT_DEFAULT)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the file has them."""
        arms = [json_files.encode(arm) for arm in self.arms]
        for arm in arms:
            for row in arm["curve"]:
                row |= row.pop("metrics")
        return {**json_files.encode(self), "arms": arms}


def read_result(path: Path) -> tuple[str, StudyResult]:
    """The command that carried the study out, and what it found.

    Args:
        path: of results.json.

    Raises:
        InputError: not such a file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        command = str(values.pop("command"))
        for arm in values["arms"]:
            for i, row in enumerate(arm["curve"]):
                numbers = {name: row.pop(name) for name in CURVE_NUMBERS}
                arm["curve"][i] = numbers | {"metrics": row}
    except FileNotFoundError:
        raise InputError(f"{path} is not there; expected results.json of a study") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not results.json of a study: {error!r}") from None
    return command, json_files.decode(StudyResult, values, str(path))
