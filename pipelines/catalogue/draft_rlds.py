"""Drafts an entry for an RLDS directory, from names and shapes of its features and the values of one episode."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS, Encoding
from fasttok.episodes.episode import Steps
from fasttok.episodes.features import Feature
from pipelines.drafts.lines import EntryPart, camera_slots, listed

STEPS = "steps/"
GRIPPER = re.compile(r"grip|open|close")
ACTION = re.compile(r"(^|/)action")
STATE = re.compile(r"(^|/)(state|proprio|robot_state|joint_pos|robot_obs|eef_pose|cartesian_position)")
StepValues = NDArray[Any] | list[Any]
LANGUAGE = re.compile(r"instruction|language|task|command")


def propose(name: str, features: dict[str, Feature], steps: Steps) -> tuple[str, list[str]]:
    """Returns (YAML of a drafted entry, what is not clear).

    Args:
        name: name of the dataset.
        features: flat feature name -> feature.
        steps: step columns of one episode, by their flat names below steps/; may be empty.
    """
    unclear = ["control_hz: features do not say it; `index --control-hz` may, too"]
    lines = [
        f"# A draft from the features of {name}: check every line.",
        f"name: {name}",
        "kind: robot",
        "robot: ''",
        "control_hz: null",
    ]
    inside = {key.removeprefix(STEPS): f for key, f in features.items() if key.startswith(STEPS)}
    lines += _cameras(inside, unclear)
    lines.append(f"language: {_language(features, unclear) or 'null'}")
    lines += _columns("action", ACTION, inside, steps, unclear)
    lines += _columns("proprio", STATE, inside, steps, unclear)
    success = next((key for key in features if key.endswith("success") and not key.startswith(STEPS)), None)
    if success:
        lines.append(f"# filters: {{success: {success}}}")
    return "\n".join([*lines, "license: ''"]) + "\n", unclear


def _cameras(inside: dict[str, Feature], unclear: list[str]) -> list[str]:
    chosen, left = camera_slots(key for key, f in inside.items() if f.kind == "image" and len(f.lengths) == 1)
    if left:
        unclear.append(f"cameras: {', '.join(left)} have no slot; there are {', '.join(CAMERA_SLOTS)}")
    if not chosen:
        unclear.append("cameras: no feature of steps is an image")
    return ["cameras:", *[f"  {slot}: {key}" for slot, key in chosen.items()]]


def _language(features: dict[str, Feature], unclear: list[str]) -> str | None:
    texts = [key for key, f in features.items() if f.dtype == "bytes" and f.kind != "image" and LANGUAGE.search(key)]
    texts.sort(key=lambda key: ("instruction" not in key, not key.startswith(STEPS), len(key)))
    if not texts:
        unclear.append("language: no text feature is called an instruction, language or task")
        return None
    if len(texts) > 1:
        unclear.append(f"language: took {texts[0]}, there are also {', '.join(texts[1:])}")
    return texts[0].removeprefix(STEPS)


def _columns(
    key: str, pattern: re.Pattern[str], inside: dict[str, Feature], steps: Steps, unclear: list[str]
) -> list[str]:
    """Returns the YAML lines of `key`, from the numeric features that look like an action or a state."""
    chosen = {
        name: f
        for name, f in inside.items()
        if pattern.search(name) and _numeric(name, f) and name.startswith("action") == (key == "action")
    }
    if not chosen:
        unclear.append(f"{key}: no numeric feature of steps looks like one")
        return [f"{key}: []"] if key == "proprio" else ["action: []"]
    if len(chosen) > 1:
        unclear.append(f"{key}: took all of {', '.join(chosen)}; are some the same thing in another form?")
    parts: list[EntryPart] = []
    for name, f in chosen.items():
        width = 1 if not f.shape else f.shape[0]
        parts += _guess(key, name, width, steps.get(name), unclear)
    return listed(key, parts)


def _numeric(name: str, feature: Feature) -> bool:
    """Whether a feature of the steps is a number or a row of numbers. True or false counts only for a gripper."""
    flat = feature.kind == "tensor" and len(feature.lengths) == 1 and len(feature.shape) <= 1
    number = feature.dtype != "bytes" and (feature.dtype != "bool" or bool(GRIPPER.search(name)))
    return flat and number and "terminate" not in name


def _guess(key: str, name: str, width: int | None, values: StepValues | None, unclear: list[str]) -> list[EntryPart]:
    """Guesses the parts of a feature. A gripper is a feature with such a name, or the last of 4, 7 or 8 columns of an action."""
    if GRIPPER.search(name):
        return [_gripper(name, None, values, unclear)]
    encoding: Encoding = "delta" if re.search(r"delta|rel|vel|vector", name) else "absolute"
    if key == "proprio" or width is None or width not in (4, 7, 8):
        unclear.append(f"{name}: {width or 'any number of'} columns taken as {encoding}")
        return [{"from": name, "encoding": encoding}]
    if values is not None and len(values):
        moves = np.abs(np.asarray(values, np.float64)[:, : width - 1])
        encoding = (
            "delta" if encoding == "delta" or np.abs(np.diff(moves, axis=0)).mean() > 0.3 * moves.mean() else "absolute"
        )
    unclear.append(
        f"{name}: columns 0 to {width - 2} taken as {encoding}; are they a pose, joints or velocities, in which units?"
    )
    column = None if values is None else np.asarray(values)[:, width - 1 :]
    return [
        {"from": name, "slice": [0, width - 1], "encoding": encoding},
        _gripper(name, [width - 1, width], column, unclear),
    ]


def _gripper(name: str, columns: list[int] | None, values: StepValues | None, unclear: list[str]) -> EntryPart:
    low, high = 0.0, 1.0
    if values is not None and len(values) and np.asarray(values).dtype.kind in "fiu":
        seen = np.asarray(values, np.float64)
        low, high = (-1.0, 1.0) if seen.min() < -0.5 else (0.0, max(1.0, float(np.ceil(seen.max()))))
    unclear.append(f"{name}: which of {low:g} and {high:g} is open; the draft says {high:g}")
    taken: EntryPart = {"from": name, "slice": columns} if columns else {"from": name}
    return {**taken, "encoding": "gripper", "closed": low, "open": high}
