"""Reads a study's file (train/configs/*.yaml) into a `Study`. Imports no JAX."""

import dataclasses
import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import yaml

from fasttok.common import json_files
from fasttok.common.names import relative_path
from fasttok.common.yaml_once import load_once
from fasttok.errors import InputError, unknown_name
from train.config import check_least, check_seed
from train.study.arm_config import training
from train.study.spec import CHOOSING_EPISODES, CHOOSING_SEED, Arm, Evaluation, Match, Purpose, Study, Tuning

# Keys that `like: OTHER.yaml` takes from another study.
DEFAULTS = "arm_defaults"  # keys that apply to every arm that does not set them
SHARED = ("world", "base", "common", "robot_samples", "seeds", "evaluate", DEFAULTS)


def load_study(path: Path) -> Study:
    """Reads a study. With `like: OTHER.yaml`, keys of `SHARED` that it does not set come from that study in the same folder.

    Raises:
        InputError: a key or a value is wrong; the message names the key, what was found and what was expected.
    """
    values = _read(path)
    if "like" in values:
        other = str(values.pop("like"))
        if Path(other).name != other:
            raise InputError(f"{path}: like is {other!r}, expected the name of a study beside it, such as presets.yaml")
        values = {key: value for key, value in _read(path.parent / other).items() if key in SHARED} | values
    defaults = values.pop(DEFAULTS, {})
    if not isinstance(defaults, dict):
        raise InputError(f"{path}: {DEFAULTS} is {defaults!r}, expected a mapping, such as shards: predictable")
    _check_keys(path, values, Study)
    arms_by_name = values.get("arms")
    if not isinstance(arms_by_name, dict) or not arms_by_name:
        raise InputError(f"{path}: arms is {arms_by_name!r}, expected a mapping: name -> flags of fasttok-train")
    arms = tuple(_arm(path, str(name), arm, defaults) for name, arm in arms_by_name.items())
    if "base" not in values:
        raise InputError(f"{path}: base is missing: flags of the VLM that all runs start from, such as --preset vlm")
    for key in ("name", "question", "robot_samples"):
        if key not in values:
            raise InputError(f"{path}: {key} is missing")
    seeds = values.get("seeds")
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or not seeds:
        raise InputError(f"{path}: seeds is {seeds!r}, expected a list of numbers, such as [0, 1, 2]")
    for seed in seeds:
        check_seed(seed, f"{path}: seeds: a seed")
    robot_samples = values["robot_samples"]
    if not isinstance(robot_samples, int) or robot_samples < 1:
        raise InputError(f"{path}: robot_samples is {robot_samples!r}, expected a number of rows, at least 1")
    world = values.get("world", {})
    if not isinstance(world, dict):
        raise InputError(f"{path}: world is {world!r}, expected a mapping: option -> value")
    study = Study(
        name=str(values["name"]),
        question=str(values["question"]),
        base=_arm(path, "base", values["base"], {}),
        common=tuple(shlex.split(str(values.get("common", "")))),
        robot_samples=robot_samples,
        seeds=tuple(dict.fromkeys(seeds)),
        reference=str(values.get("reference", arms[0].name)),
        arms=arms,
        world=world,
        tune=_tuning(path, values.get("tune")),
        evaluate=_evaluation(path, values.get("evaluate", {})),
        purpose=values.get("purpose", "report"),
    )
    if study.reference not in [arm.name for arm in study.arms]:
        raise unknown_name("reference arm", study.reference, [arm.name for arm in study.arms])
    _check_purpose(path, study)
    _check_starts(path, study)
    for shards in study.shards:
        relative_path(shards, f"{path}: shards or held_out")
    _check_flags(study)
    return study


def _check_flags(study: Study) -> None:
    """Parses every flag of every arm, with every value that the search tries, now and not after hours of training."""
    for arm in study.arms:
        training(study, arm, Path("DATA"), Path("OUT"), seed=study.seeds[0])
        if (tune := study.tune) is not None:
            for value in tune.values:
                training(study, arm, Path("DATA"), Path("OUT"), tune.seed, (tune.flag, value))


def _check_purpose(path: Path, study: Study) -> None:
    """Refuses a study that would choose on seeds or episodes that are also reported."""
    if study.purpose not in get_args(Purpose):
        raise InputError(f"{path}: purpose is {study.purpose!r}, expected one of {', '.join(get_args(Purpose))}")
    reported = any(seed < CHOOSING_SEED for seed in study.seeds) or study.evaluate.seed < CHOOSING_EPISODES
    if study.purpose == "choose" and reported:
        raise InputError(
            f"{path}: purpose is choose, seeds are {list(study.seeds)} and episodes begin at {study.evaluate.seed}; expected "
            f"seeds from {CHOOSING_SEED} on and evaluate: {{seed: {CHOOSING_EPISODES}}} or later, which no report uses"
        )
    if study.tune is not None and study.tune.seed in study.seeds:
        raise InputError(
            f"{path}: tune: seed is {study.tune.seed}, which is one of the study's seeds {list(study.seeds)}; expected another, "
            "so that nothing is chosen on runs that are reported"
        )


def _check_starts(path: Path, study: Study) -> None:
    """Refuses arms that start from, or are compared with, an arm that cannot be that, and budgets below 1."""
    names = [arm.name for arm in study.arms]
    for arm in study.arms:
        if arm.against and arm.against not in names:
            raise InputError(f"{path}: arms: {arm.name}: {unknown_name('arm to compare with', arm.against, names)}")
        if arm.against == arm.name or (arm.against and arm.name == study.reference):
            raise InputError(
                f"{path}: arms: {arm.name}: against is {arm.against!r}; expected another arm, and nothing for the reference arm"
            )
        if arm.start and arm.start not in names:
            raise InputError(f"{path}: arms: {arm.name}: {unknown_name('arm to start from', arm.start, names)}")
        if arm.start and study.tune is not None:
            raise InputError(
                f"{path}: arms: {arm.name}: start does not go with tune, whose tries start from the base VLM"
            )
        if arm.robot_samples is not None and arm.robot_samples < 1:
            raise InputError(f"{path}: arms: {arm.name}: robot_samples is {arm.robot_samples}, expected at least 1")
    try:
        _ = study.rounds
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = load_once(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(f"{path} is not there; fasttok-study list names the studies that come with fasttok") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping with name, question, base, common, robot_samples, seeds, arms")
    return values


def _check_keys(
    path: Path, keys: Iterable[object], kind: type[Study | Arm | Tuning | Evaluation], where: str = ""
) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    for key in keys:
        if key not in known:
            raise InputError(f"{path}: {where}{unknown_name('key', str(key), known)}")


def _tuning(path: Path, values: Any) -> Tuning | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise InputError(f"{path}: tune is {values!r}, expected a mapping with flag and values")
    _check_keys(path, values, Tuning, "tune: ")
    tried = values.get("values", ())
    if not isinstance(tried, list):
        raise InputError(f"{path}: tune: values is {tried!r}, expected a list")
    if not tried:
        raise InputError(f"{path}: tune: values is empty, expected at least one, such as [5e-4, 1e-3, 2e-3]")
    tune = json_files.decode(Tuning, values | {"values": [str(value) for value in tried]}, f"{path}: tune")
    if not 0 < tune.share <= 1:
        raise InputError(f"{path}: tune: share is {tune.share}, expected a share above 0 and at most 1, such as 0.3")
    return tune


def _evaluation(path: Path, values: Any) -> Evaluation:
    if not isinstance(values, dict):
        raise InputError(f"{path}: evaluate is {values!r}, expected a mapping, such as splits: [seen]")
    _check_keys(path, values, Evaluation, "evaluate: ")
    found = json_files.decode(Evaluation, values, f"{path}: evaluate")
    found = dataclasses.replace(found, splits=tuple(dict.fromkeys(found.splits)))  # its episodes must count once
    if not found.splits:
        raise InputError(f"{path}: evaluate: splits is empty, expected at least one split of the world, such as [seen]")
    check_least(
        found, f"{path}: evaluate: ", 1, "episodes", "checkpoints", "curve_episodes", "rows", "questions", "batch"
    )
    check_least(found, f"{path}: evaluate: ", 0, "seed", "films")
    if not 0 <= found.threshold <= 1:
        raise InputError(f"{path}: evaluate: threshold is {found.threshold}, expected a share of successes from 0 to 1")
    if not 0 <= found.temperature < math.inf:
        raise InputError(
            f"{path}: evaluate: temperature is {found.temperature}, expected 0 (the likeliest tokens) or more"
        )
    return found


def _arm(path: Path, name: str, arm: Any, defaults: Any) -> Arm:
    if isinstance(arm, str):
        arm = {"flags": arm}
    if isinstance(arm, dict):
        arm = {**defaults, **arm}
    if not isinstance(arm, dict) or not isinstance(arm.get("flags", ""), str):
        raise InputError(f"{path}: arms: {name} is {arm!r}, expected flags of fasttok-train, such as --preset joint")
    _check_keys(path, arm, Arm, f"arms: {name}: ")
    if arm.get("match", "robot_samples") not in get_args(Match):
        raise InputError(
            f"{path}: arms: {name}: match is {arm['match']!r}, expected one of {', '.join(get_args(Match))}"
        )
    words = shlex.split(arm.get("flags", ""))
    return json_files.decode(Arm, {"name": name} | arm | {"flags": words}, f"{path}: arms: {name}")
