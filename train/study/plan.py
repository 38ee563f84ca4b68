"""What a study is: a file of arms and seeds (train/configs/*.yaml), read into frozen dataclasses. Imports no JAX."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import tyro
import yaml

from fasttok.errors import InputError, unknown_name
from train.config import TrainConfig
from train.presets import preset_from

Match = Literal["robot_samples", "flops"]
# What `like: OTHER.yaml` takes from another study.
SHARED = ("world", "base", "common", "robot_samples", "seeds", "evaluate")


@dataclass(frozen=True)
class Arm:
    """One recipe that is compared.

    Attributes:
        name: in tables and plots, and of its folder. flags: of `fasttok-train`, beside the study's `common`.
        shards: folder in the study's data that it learns from. match: what it has as much of as the reference.
    """

    name: str
    flags: tuple[str, ...]
    shards: str = "shards"
    match: Match = "robot_samples"


@dataclass(frozen=True)
class Tuning:
    """A short search per arm before the study: the value with the smallest held-out action error wins.

    Attributes:
        flag: of `fasttok-train`. values: tried. share: of the study's samples. seed: not one of the study's.
    """

    flag: str
    values: tuple[str, ...]
    share: float = 0.3
    seed: int = 1000


@dataclass(frozen=True)
class Evaluation:
    """How each run is measured.

    Attributes:
        splits: of the environment; the first one also gives the curves. episodes: per embodiment and split.
        checkpoints: at how many points, evenly spaced, each run is measured. curve_episodes: per embodiment, at all but the last.
        rows: of held-out shards. questions: of the VQA dataset. seed: of the first episode, the same episodes for every run.
        batch: rows of a prediction. films: episodes per split to keep the frames of. threshold: success of "steps to reach".
        temperature: of action tokens, where these act; 1 samples, as the flow does.
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
    """A grid of arms x seeds.

    Attributes:
        question: what it is to answer. world: options that both the environment's factory and the data's take.
        base: the VLM that all runs start from. common: flags of all runs.
        robot_samples: each run learns from so many rows of robots, whatever else it learns from.
        reference: the arm that the others are compared with, in pairs.
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

    @property
    def shards(self) -> tuple[str, ...]:
        """Folders of shards that the arms learn from."""
        return tuple(dict.fromkeys([self.base.shards, *(arm.shards for arm in self.arms)]))

    def arm(self, name: str) -> Arm:
        """An arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def with_arms(self, names: tuple[str, ...]) -> "Study":
        """The same study of fewer arms; the reference stays.

        Raises:
            InputError: no such arm.
        """
        for name in names:
            if name not in [arm.name for arm in self.arms]:
                raise unknown_name("arm", name, [arm.name for arm in self.arms])
        return dataclasses.replace(self, arms=tuple(a for a in self.arms if a.name in (*names, self.reference)))

    def smoke(self) -> "Study":
        """The same study, so small that its numbers mean nothing: does everything run?"""
        first = [self.arm(self.reference), *[arm for arm in self.arms if arm.name != self.reference]]
        arms = tuple(arm for arm in first if arm.shards == "shards" and arm.match == "robot_samples")[:2]
        small = dataclasses.replace(
            self.evaluate, splits=self.evaluate.splits[:2], episodes=6, curve_episodes=4, checkpoints=2, rows=20, questions=20,
            batch=10, films=2,
        )  # fmt: skip
        fast = ("--steps", "8", "--batch-size", "16", "--log-every", "4")
        base = dataclasses.replace(self.base, flags=(*self.base.flags, *fast), shards="shards")
        return dataclasses.replace(
            self, name=f"{self.name} (smoke)", base=base, common=(*self.common, *fast[2:]), robot_samples=96,
            seeds=self.seeds[:2], arms=arms, tune=None, evaluate=small,
        )  # fmt: skip


def load_study(path: Path) -> Study:
    """Reads a study; `like: OTHER.yaml` takes what it does not say (`SHARED`) from a study beside it.

    Raises:
        InputError: names the key, what was found and what was expected.
    """
    values = _read(path)
    if "like" in values:
        other = str(values.pop("like"))
        if Path(other).name != other:
            raise InputError(f"{path}: like is {other!r}, expected the name of a study beside it, such as presets.yaml")
        values = {key: value for key, value in _read(path.parent / other).items() if key in SHARED} | values
    _keys(path, values, Study)
    arms = values.get("arms")
    if not isinstance(arms, dict) or not arms:
        raise InputError(f"{path}: arms is {arms!r}, expected a mapping: name -> flags of fasttok-train")
    values["arms"] = tuple(_arm(path, str(name), arm) for name, arm in arms.items())
    if "base" not in values:
        raise InputError(f"{path}: base is missing: flags of the VLM that all runs start from, such as --preset vlm")
    values["base"] = _arm(path, "base", values["base"])
    values["common"] = tuple(shlex.split(str(values.get("common", ""))))
    values.setdefault("reference", values["arms"][0].name)
    seeds = values.get("seeds")
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds) or not seeds:
        raise InputError(f"{path}: seeds is {seeds!r}, expected a list of numbers, such as [0, 1, 2]")
    values["seeds"] = tuple(dict.fromkeys(seeds))
    if "tune" in values and values["tune"] is not None:
        tune = dict(values["tune"])
        _keys(path, tune, Tuning, "tune: ")
        values["tune"] = Tuning(**tune | {"values": tuple(map(str, tune.get("values", ())))})
    if "evaluate" in values:
        evaluate = dict(values["evaluate"])
        _keys(path, evaluate, Evaluation, "evaluate: ")
        values["evaluate"] = Evaluation(**evaluate | {"splits": tuple(evaluate.get("splits", ("seen",)))})
    try:
        study = Study(**values)
    except TypeError as error:
        raise InputError(f"{path}: {str(error).replace('Study.__init__() ', '')}") from None
    if study.reference not in [arm.name for arm in study.arms]:
        raise unknown_name("reference arm", study.reference, [arm.name for arm in study.arms])
    if not isinstance(study.robot_samples, int) or study.robot_samples < 1:
        raise InputError(f"{path}: robot_samples is {study.robot_samples!r}, expected a number of rows, at least 1")
    for arm in study.arms:  # every flag is tried before the first hour is spent
        training(study, arm, Path("DATA"), Path("OUT"), seed=study.seeds[0])
    return study


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not there; the studies that come with fasttok are in train/configs") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a mapping with name, question, base, common, robot_samples, seeds, arms")
    return found


def _keys(path: Path, values: dict[str, Any], kind: Any, where: str = "") -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise InputError(f"{path}: {where}{unknown_name('key', str(key), known)}")


def _arm(path: Path, name: str, arm: Any) -> Arm:
    if isinstance(arm, str):
        arm = {"flags": arm}
    if not isinstance(arm, dict) or not isinstance(arm.get("flags", ""), str):
        raise InputError(f"{path}: arms: {name} is {arm!r}, expected flags of fasttok-train, such as --preset joint")
    _keys(path, arm, Arm, f"arms: {name}: ")
    if arm.get("match", "robot_samples") not in get_args(Match):
        raise InputError(
            f"{path}: arms: {name}: match is {arm['match']!r}, expected one of {', '.join(get_args(Match))}"
        )
    return Arm(name, **arm | {"flags": tuple(shlex.split(arm.get("flags", "")))})


def training(study: Study, arm: Arm, data: Path, out: Path, seed: int, extra: tuple[str, ...] = ()) -> TrainConfig:
    """The training of an arm, but for its steps.

    Args:
        data: folder of the study's shards. out: folder of the run. extra: flags, which win.

    Raises:
        InputError: a flag that `fasttok-train` does not know.
    """
    return parse((*study.common, *arm.flags, "--seed", str(seed), *extra), data / arm.shards, out)


def parse(flags: tuple[str, ...], shards: Path, out: Path) -> TrainConfig:
    """Flags of `fasttok-train` as its configuration.

    Raises:
        InputError: one that it does not know, or a value that does not fit.
    """
    words = ["--shards", str(shards), "--out", str(out), *flags]
    preset = preset_from(words)
    try:
        return tyro.cli(TrainConfig, default=preset, args=words, prog="fasttok-train", console_outputs=False)
    except SystemExit:
        raise InputError(f"fasttok-train does not understand: {shlex.join(flags)}; see fasttok-train --help") from None
