"""A first entry for a LeRobot folder: names, frequency, cameras from meta/info.json, the meaning of actions from the actions."""

import json
import re
from collections.abc import Iterator
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.episodes import Episode
from fasttok.episodes.lerobot_folder import open_folder
from fasttok.episodes.lerobot_info import ACTIONS, STATES, LerobotFeature, LerobotInfo
from pipelines.check.action_meaning import DimMeaning, action_meanings
from pipelines.drafts.draft import Draft
from pipelines.recordings.lerobot import LerobotRecordings

LOOKED_AT = 20  # episodes, of which the actions tell what they mean
WRIST = re.compile(r"wrist|hand|gripper")
NOT_CAMERAS = re.compile(r"depth|segment|mask")
OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index", "next.done", "next.reward", "next.success")


def propose(directory: str) -> Draft:
    """A first entry.

    Raises:
        InputError: meta/ is missing or damaged.
    """
    folder = open_folder(directory)
    info = folder.info
    assumed: list[str] = []
    questions: list[str] = []
    name = plain(directory.rstrip("/").rsplit("/", 1)[-1])
    if info.fps is None:
        questions.append(f"control_hz: info.json says no fps; `index --control-hz {name}=HZ` may say it, too")
    lines = [
        f"name: {name}",
        "kind: robot",
        "format: lerobot",
        f"robot: {json.dumps(info.robot_type)}",
        f"control_hz: {'null' if info.fps is None else f'{info.fps:g}'}",
    ]
    lines += _cameras(info, assumed)
    told = bool(folder.tasks) or any(episode.tasks for episode in folder.episodes.values())
    lines.append(f"language: {'task' if told else 'null'}")
    if not told:
        assumed.append("language: the folder has no tasks, so its episodes have no instruction")
        lines.append("filters: {language: false}")
    episodes = list(islice(_readable(directory), LOOKED_AT))
    state = _numeric(info, episodes, STATES, "observation.state")
    action = _numeric(info, episodes, ACTIONS, "action")
    if not action:
        questions.append("action: no feature of info.json is called action; which one is it?")
    lines += ["action:", *_action(info, action, state, episodes, assumed, questions)] if action else ["action: []"]
    lines += ["proprio:", *(f"  - {{from: {_word(key)}{_names(info.features.get(key))}}}" for key in state)]
    if not state:
        lines[-1] = "proprio: []"
        assumed.append("proprio: no feature is called observation.state, so the robot's state is not known")
    return Draft("\n".join(lines) + "\n", tuple(assumed), tuple(questions))


def _readable(directory: str) -> Iterator[Episode]:
    """Episodes of all parts, one of each in turn."""
    opened = LerobotRecordings(directory)
    waiting = [opened.read(part, False) for parts in opened.parts().values() for part in parts]
    while waiting:
        for records in list(waiting):
            episode = next((record for record in records if isinstance(record, Episode)), None)
            if episode is None:
                waiting.remove(records)
            else:
                yield episode


def plain(name: str) -> str:
    """A name that may become a folder's.

    >>> plain("my data (1)"), plain("...")
    ('my_data_1', 'dataset')
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "dataset"


def _cameras(info: LerobotInfo, assumed: list[str]) -> list[str]:
    """Cameras by slot: those whose names say wrist or hand, and the others in their order."""
    images = [key for key, f in info.features.items() if f.dtype in ("video", "image")]
    names = [key for key in images if not info.features[key].depth and not NOT_CAMERAS.search(key.lower())]
    wrist = [key for key in names if WRIST.search(key.lower())]
    outer = [key for key in names if key not in wrist]
    chosen = dict(zip(CAMERA_SLOTS[:2], outer, strict=False)) | dict(zip(CAMERA_SLOTS[2:], wrist, strict=False))
    free = [slot for slot in CAMERA_SLOTS if slot not in chosen]
    left = [key for key in names if key not in chosen.values()]
    chosen |= dict(zip(free, left, strict=False))
    for slot, key in chosen.items():
        assumed.append(f"cameras: {key} is {slot}, by its name")
    unused = [key for key in images if key not in chosen.values()]
    if unused:
        assumed.append(f"cameras: {', '.join(unused)} are not used; there are four slots, and none for depth or masks")
    body = ", ".join(f"{slot}: {_word(chosen[slot])}" for slot in CAMERA_SLOTS if slot in chosen)
    return [f"cameras: {{{body}}}"]


def _numeric(info: LerobotInfo, episodes: list[Episode], usual: tuple[str, ...], prefix: str) -> list[str]:
    """The features that are an action, or a state: one of the usual names, else all numbers whose names begin with it."""
    known = list(info.features) or (list(episodes[0].steps) if episodes else [])
    name = next((name for name in usual if name in known), None)
    if name is not None:
        return [name]
    return [
        key
        for key in known
        if key.startswith(f"{prefix}.")
        and info.features.get(key, LerobotFeature()).dtype not in ("video", "image", "string")
    ]


def _action(
    info: LerobotInfo,
    keys: list[str],
    state: list[str],
    episodes: list[Episode],
    assumed: list[str],
    questions: list[str],
) -> list[str]:
    """The parts of the action: runs of neighbouring dims that mean the same."""
    lines = []
    for key in keys:
        actions = [_table(episode, key) for episode in episodes if key in episode.steps]
        both = [e for e in episodes if key in e.steps and all(name in e.steps for name in state)]
        states = [np.concatenate([_table(e, name) for name in state], axis=1) for e in both] if state else []
        if not actions:
            questions.append(f"{key}: no episode could be read, so it is not known whether it is absolute or a delta")
            lines.append(f"  - {{from: {_word(key)}, encoding: absolute}}")
            continue
        meanings = action_meanings([_table(e, key) for e in both], states, info.fps) if states else []
        lines += _parts(info, key, actions[0].shape[1], meanings, assumed, questions)
    return lines


def _parts(
    info: LerobotInfo, key: str, width: int, meanings: list[DimMeaning], assumed: list[str], questions: list[str]
) -> list[str]:
    strong = [m.meaning if m.strength == "strong" else "unknown" for m in meanings] or ["unknown"] * width
    told = set(strong) - {"unknown"}
    if not told:
        questions.append(
            f"{key}: the files do not say whether it is absolute, a delta or a velocity, and its values do not show it clearly; "
            "write `encoding: absolute` or `encoding: delta`"
        )
    most = max(sorted(told), key=strong.count) if told else "absolute"
    sure = len([m for m in strong if m != "unknown"])
    if told:
        assumed.append(f"{key}: {sure} of {width} dims follow the state as {' and '.join(sorted(told))} commands do")
    if told and sure < width:
        assumed.append(f"{key}: the other {width - sure} dims are taken as {most}, too")
    final = [most if m == "unknown" else m for m in strong]
    names = info.features.get(key, LerobotFeature()).names
    lines, start = [], 0
    for meaning, run in groupby(final):
        stop = start + len(list(run))
        unit = ", unit: per second" if meaning == "velocity" else ""
        own = names[start:stop] if len(names) == width else ()
        listed = f", names: {json.dumps(list(own))}" if own else ""
        cut = f", slice: [{start}, {stop}]" if (start, stop) != (0, width) else ""
        encoding = "absolute" if meaning == "absolute" else "delta"
        lines.append(f"  - {{from: {_word(key)}{cut}, encoding: {encoding}{unit}{listed}}}")
        start = stop
    return lines


def _names(feature: LerobotFeature | None) -> str:
    if feature is None or not feature.names or len(feature.names) != int(np.prod(feature.shape)):
        return ""
    return f", names: {json.dumps(list(feature.names))}"


def _table(episode: Episode, key: str) -> NDArray[np.float64]:
    values = np.asarray(episode.steps[key], np.float64)
    return values.reshape(len(values), -1)


def _word(text: str) -> str:
    """A word of YAML, in quotes if it needs them."""
    return text if re.fullmatch(r"[A-Za-z_][\w./-]*", text) else json.dumps(text)
