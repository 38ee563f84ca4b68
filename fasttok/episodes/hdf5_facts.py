"""Reads what an HDF5 file says about its episodes besides their steps: control frequency, language, success, robot.

robomimic and LIBERO write JSON into attributes, ManiSkill writes a JSON file beside the HDF5 file, others plain attributes.
"""

import json
import logging
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fasttok.common import stores
from fasttok.episodes.hdf5_file import Node, attribute, number, text

logger = logging.getLogger(__name__)
Values = Mapping[str, Any]
FREQUENCIES = ("control_freq", "control_hz", "control_frequency", "fps", "hz", "frequency")
LANGUAGES = ("language_instruction", "language", "instruction", "lang", "task_description", "current_task", "task")
NESTED = ("env_args", "env_info", "problem_info", "ep_meta", "env_kwargs", "sim_config")
SUCCESSES = ("success", "is_success")
ROBOTS = ("robot", "robot_uids", "robots")
ENVIRONMENTS = ("env_name", "env_id", "env")
MOST_JSON = 64 << 20  # largest size of ManiSkill's list of episodes in bytes
DEEPEST = 4  # JSON objects within JSON objects


@dataclass(frozen=True)
class HdfFacts:
    """What is known about an episode, or about all episodes of a file; "" and None mean not known.

    Attributes:
        control_hz: steps per second.
        language: instruction.
        success: whether the episode reached its goal.
        robot: name of the robot.
        environment: name of the simulator's environment.
        controller: controller of the simulator's robot, such as robosuite's OSC_POSE or ManiSkill's pd_ee_delta_pose.
        delta: whether that controller takes deltas or velocities.
    """

    control_hz: float | None = None
    language: str = ""
    success: bool | None = None
    robot: str = ""
    environment: str = ""
    controller: str = ""
    delta: bool | None = None


@dataclass(frozen=True)
class ManiskillJson:
    """The contents of the JSON file that ManiSkill writes beside a file of trajectories.

    Attributes:
        shared: facts about all episodes.
        episodes: number of an episode -> facts about it.
    """

    shared: HdfFacts = field(default_factory=HdfFacts)
    episodes: dict[int, HdfFacts] = field(default_factory=dict)


def said_by(group: Node) -> HdfFacts:
    """Returns what the attributes of a group say, including the JSON that some of them contain."""
    keys = (*FREQUENCIES, *LANGUAGES, *NESTED, *SUCCESSES, *ROBOTS, *ENVIRONMENTS)
    return _facts({key: value for key in keys if (value := attribute(group, key)) is not None})


def first_of(*facts: HdfFacts) -> HdfFacts:
    """Merges facts: each field has the first value that is known."""
    return HdfFacts(
        next((f.control_hz for f in facts if f.control_hz is not None), None),
        next((f.language for f in facts if f.language), ""),
        next((f.success for f in facts if f.success is not None), None),
        next((f.robot for f in facts if f.robot), ""),
        next((f.environment for f in facts if f.environment), ""),
        next((f.controller for f in facts if f.controller), ""),
        next((f.delta for f in facts if f.delta is not None), None),
    )


def _facts(values: Values) -> HdfFacts:
    found = list(_unfolded(values, DEEPEST))
    robots = next((v["robots"] for v in found if v.get("robots")), "")
    if isinstance(robots, list):
        robots = ", ".join(map(str, robots))
    controllers = [c for v in found for c in _controllers(v.get("controller_configs"), DEEPEST)]
    mode = next((words for v in found if (words := text(v.get("control_mode")))), "")
    successes = [bool(np.asarray(v[key]).any()) for v in found for key in SUCCESSES if _is_flag(v.get(key))]
    return HdfFacts(
        next((hz for v in found for key in FREQUENCIES if (hz := number(v.get(key))) is not None and hz > 0), None),
        next((words for key in LANGUAGES for v in found if (words := _words(v.get(key)))), ""),
        successes[0] if successes else None,
        text(robots) or next((words for v in found if (words := text(v.get("robot") or v.get("robot_uids")))), ""),
        next((words for v in found for key in ENVIRONMENTS if (words := text(v.get(key)))), ""),
        mode or next((str(c["type"]) for c in controllers), ""),
        any(word in mode for word in ("delta", "vel")) if mode else _takes_deltas(controllers),
    )


def _controllers(value: object, deepest: int) -> Iterator[Values]:
    """Yields the controllers of arms in robosuite's configuration: one controller, a list, or a tree of body parts."""
    if isinstance(value, list):
        for inner in value:
            yield from _controllers(inner, deepest)
    elif isinstance(value, dict):
        if re.match(r"OSC_|IK_|JOINT_", str(value.get("type"))):
            yield value
        elif deepest:
            for inner in value.values():
                yield from _controllers(inner, deepest - 1)


def _takes_deltas(controllers: list[Values]) -> bool | None:
    said = [c.get("control_delta", c.get("input_type")) for c in controllers]
    return None if not said or said[0] is None else said[0] is True or said[0] == "delta"


def _unfolded(values: Values, deepest: int) -> Iterator[Values]:
    """Yields the values, and those of the JSON objects that known keys contain."""
    yield values
    for key in NESTED if deepest else ():
        inner = values.get(key)
        if not isinstance(inner, dict):
            inner = _object(text(inner))
        if inner:
            yield from _unfolded(inner, deepest - 1)


def _object(words: str) -> Values:
    if not words.startswith("{"):
        return {}
    try:
        found = json.loads(words)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_flag(value: object) -> bool:
    array = np.asarray(value)
    return array.size == 1 and array.dtype.kind in "biuf"


def _words(value: object) -> str:
    """Returns an instruction as text. LIBERO may write it as a list of words, and with or without quotes.

    >>> _words(["open", "the", "drawer"]), _words('"open it"')
    ('open the drawer', 'open it')
    """
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    return text(value).strip('"').strip()


def language_of_name(path: str) -> str:
    """Returns the instruction that LIBERO writes into a file's name, "" if LIBERO did not make the name.

    >>> language_of_name("KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5"), language_of_name("episode_0.hdf5")
    ('turn on the stove', '')
    """
    name = posixpath.basename(path)
    stem = re.fullmatch(r"(.+)_demo\.(hdf5|h5)", name)
    if stem is None:
        return ""
    words = re.sub(r"^[A-Z_]+_SCENE\d+_", "", stem[1])
    return " ".join(words.split("_"))


def json_beside(path: str) -> str:
    """Returns the path of ManiSkill's JSON file for a file of trajectories, "" if it does not exist."""
    beside = re.sub(r"\.(hdf5|h5)$", ".json", path)
    filesystem, root = stores.filesystem(beside)
    return beside if beside != path and stores.kind_at(filesystem, root) == "file" else ""


def read_beside(path: str) -> ManiskillJson:
    """Returns what ManiSkill's JSON file says. If the file is damaged, it logs a warning and returns nothing."""
    beside = json_beside(path)
    if not beside:
        return ManiskillJson()
    try:
        with stores.open_file(beside) as stream:
            data = stream.read(MOST_JSON + 1)
        if len(data) > MOST_JSON:
            raise ValueError(f"larger than {MOST_JSON >> 20} MiB")
        raw = json.loads(data)
        shared = _facts(raw["env_info"] if isinstance(raw.get("env_info"), dict) else {})
        episodes = {int(row["episode_id"]): _facts(row) for row in raw["episodes"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        what = type(error).__name__ if isinstance(error, UnicodeError) else f"{type(error).__name__}: {error}"
        logger.warning("%s is no list of episodes of ManiSkill (%s); success and frequency are not known", beside, what)
        return ManiskillJson()
    return ManiskillJson(shared, episodes)
