"""results.json: the result of a study, with all numbers that its tables and its page show."""

import json
import shlex
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
    """Metrics at one point of training. In the file, the metrics are keys beside the other ones.

    Attributes:
        step: step of the first seed's checkpoint.
        robot_samples: robot rows that training had used.
        tflop: TFLOP that training had spent.
        metrics: maps names (see `train.study.summary.values_of`) to means over seeds.
    """

    step: int
    robot_samples: float
    tflop: float
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class ArmResult:
    """The result of one arm.

    Attributes:
        arm: name of the arm.
        flags: flags of `fasttok-train`.
        shards: folder of the shards that it learned from.
        match: the budget that it shares with the reference arm.
        steps: training steps of one run.
        robot_samples: robot rows that one run used.
        tflop: TFLOP that the training of one run took.
        seconds: wall time of training for each seed.
        metrics: maps names (see `train.study.summary.values_of`) to means over seeds, at the end of training.
        against: maps the same names to differences from the arm that it is compared with, in pairs; "vqa, before": from the base
            VLM.
        robot_samples_to_threshold: for each seed, robot rows until success first reached the threshold; None: it never did.
        curve: metrics along training.
        start: arm from whose runs it started; "" for the base VLM.
        held_out: folder of the shards on which its actions were measured.
        compared_with: arm that `against` compares it with; "" for the reference arm.
        counts: maps the names of `metrics` to the number of values of each seed, such as the episodes of all embodiments; {} in
            older files, which do not have it.
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
    compared_with: str = field(default="", metadata=json_files.IF_NOT_DEFAULT)
    counts: dict[str, int] = field(default_factory=dict, metadata=json_files.IF_NOT_DEFAULT)


@dataclass(frozen=True)
class BaseVqa:
    """How well the base VLM answers questions.

    Attributes:
        accuracy: share of right answers.
        baseline: share of right answers of a baseline that always gives the most common answer of a question's kind.
        questions: number of questions.
    """

    accuracy: float
    baseline: float
    questions: int


@dataclass(frozen=True)
class BaseResult:
    """The VLM that all runs start from.

    Attributes:
        flags: flags of `fasttok-train`.
        shards: folder of the shards that it learned from.
        vqa: its answers; None if no questions were asked.
    """

    flags: str
    shards: str
    vqa: BaseVqa | None


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Attributes:
        study: name of the study.
        question: the question that it should answer.
        reference: name of the arm that the others are compared with.
        seeds: seeds of each arm's runs.
        splits: splits of the environment; the first one also gives the curves.
        episodes: number of episodes per split, embodiment and seed.
        threshold: share of successes up to which `robot_samples_to_threshold` counts.
        base: the VLM that all runs start from.
        common: flags of every arm's runs.
        tuned: maps each arm and each value that the search tried to its held-out action error; {} without a search.
        arms: results of the arms, in the order of the study's file.
        seconds: wall time of the arms' runs, without those of the base VLM and the search.
        hardware: accelerators, or the processor.
        date: date of the summary, as YYYY-MM-DD.
        versions: versions of fasttok-vla (older files call it fasttok) and of the libraries that the numbers depend on.
        world: options of the environment, in words; "" in older files, which do not have them.
        env: module:factory or file of the environment (`--env`). `read_result` takes it and `data` of older files, which do not
            have them, from the command.
        data: folder of the data, or module:function that made it (`--data`).
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
    env: str = field(default="", metadata=json_files.IF_NOT_DEFAULT)
    data: str = field(default="", metadata=json_files.IF_NOT_DEFAULT)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, as the file has them."""
        arms = [json_files.encode(arm) for arm in self.arms]
        for arm in arms:
            for row in arm["curve"]:
                row |= row.pop("metrics")
        return {**json_files.encode(self), "arms": arms}


def read_result(path: Path) -> tuple[str, StudyResult]:
    """Reads a results.json, and returns the command that carried the study out and its result.

    Args:
        path: path of results.json.

    Raises:
        InputError: the file is missing, or is not results.json of a study.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        command = str(values.pop("command"))
        values = {name: _flag(command, f"--{name}") for name in ("env", "data")} | values
        for arm in values["arms"]:
            for i, row in enumerate(arm["curve"]):
                numbers = {name: row.pop(name) for name in CURVE_NUMBERS}
                arm["curve"][i] = numbers | {"metrics": row}
    except FileNotFoundError:
        raise InputError(f"{path} is not there; expected results.json of a study") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not results.json of a study: {error!r}") from None
    return command, json_files.decode(StudyResult, values, str(path))


def _flag(command: str, flag: str) -> str:
    """Returns the value of a flag in a command line; "" without one.

    >>> _flag("fasttok-study run presets --env w:make --data=here", "--data")
    'here'
    """
    words = shlex.split(command.replace(f"{flag}=", f"{flag} "))
    return words[words.index(flag) + 1] if flag in words[:-1] else ""
