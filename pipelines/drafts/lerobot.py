"""Drafts an entry for a LeRobot folder: names, frequency and cameras from meta/info.json, the meaning of actions by measuring."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.episodes import BadRecord, Episode
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.lerobot_folder import LerobotEpisode, LerobotFolder
from fasttok.episodes.lerobot_info import LerobotInfo
from fasttok.errors import InputError
from pipelines.check.columns_by_name import find_columns
from pipelines.drafts.draft import Draft
from pipelines.drafts.language import language_lines
from pipelines.drafts.lines import NOT_CAMERAS, camera_slots, flow, listed
from pipelines.drafts.measured_parts import draft_action, state_parts
from pipelines.drafts.readable import readable
from pipelines.recordings.clocks import clock_start, usual_rate
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.lerobot_declared import assumed_places
from pipelines.recordings.pictures import is_picture

LOOKED_AT = 20  # episodes from which the meaning of actions is measured
RATE_OFF = 0.01  # share by which time stamps may differ from a whole number of steps per second


def propose(directory: str) -> Draft:
    """Drafts an entry for a LeRobot folder.

    Raises:
        InputError: meta/ is missing or damaged, or no episode can be read.
    """
    opened = LerobotRecordings(directory)
    folder, info = opened.folder, opened.folder.info
    known = opened.known()
    assumed = assumed_places(folder, known)
    questions: list[str] = []
    name = dataset_name(directory)
    bad: list[BadRecord] = []
    episodes = list(islice(_readable(opened, known, bad), LOOKED_AT))
    if not episodes:
        if not folder.episodes:
            raise InputError(f"{directory} has no episode: meta/ lists none, and no table in data/ has rows of one")
        raise InputError(
            f"{directory}: no episode can be read; the first problem: {bad[0] if bad else 'no split has one'}"
        )
    hz = _frequency(info, episodes, name, assumed, questions)
    columns = find_columns(None, episodes[0])
    action = draft_action(columns, episodes, hz, assumed, questions)
    if bad and questions:
        questions.append(
            f"{len(bad)} of the first {len(bad) + len(episodes)} episodes cannot be read, such as {bad[0]}"
        )
    lines = [
        flow("name", name),
        "kind: robot",
        "format: lerobot",
        flow("robot", info.robot_type),
        flow("control_hz", int(hz) if hz and hz.is_integer() else hz),
        _cameras(info, episodes[0], assumed),
        *_language(folder, episodes, assumed),
        *listed("action", action),
        *listed("proprio", state_parts(columns.state)),
    ]
    return Draft("\n".join(lines) + "\n", tuple(dict.fromkeys(assumed)), tuple(questions))


def _frequency(
    info: LerobotInfo, episodes: Sequence[Episode], name: str, assumed: list[str], questions: list[str]
) -> float | None:
    """Returns the control frequency: from info.json, or else from time stamps that all show the same one."""
    stamps = [episode.steps.get("timestamp") for episode in episodes]
    times = [s.astype(np.float64).ravel() for s in stamps if isinstance(s, np.ndarray) and s.dtype.kind == "f"]
    if len(times) < len(episodes):
        assumed.append("timestamp: the number of a step by the frequency, as no column has it in seconds")
    moved = [e for e, t in zip(episodes, times, strict=False) if clock_start(e.steps, t, info.fps)]
    if moved and len(times) == len(episodes):
        assumed.append(
            f"timestamp: from each episode's first step on, as {len(moved)} of {len(episodes)} do not begin at 0 s"
        )
    if info.fps is not None:
        return info.fps
    rates = {usual_rate(time) for time in times} if len(times) == len(episodes) else set()
    known = {rate if abs(rate - round(rate)) > RATE_OFF * rate else float(round(rate)) for rate in rates if rate}
    if len(known) == 1 and None not in rates:
        assumed.append(f"control_hz: {min(known):g}, by the time stamps, as info.json says no fps")
        return min(known)
    questions.append(f"control_hz: info.json says no fps; `index --control-hz {name}=HZ` may say it, too")
    return None


def _readable(opened: LerobotRecordings, known: dict[int, LerobotEpisode], bad: list[BadRecord]) -> Iterator[Episode]:
    """Yields the episodes of all sections, one of each section in turn. Records that cannot be read go to `bad`."""
    every = opened.sections_of(known).values()
    waiting = [readable(opened.read(section, False), bad) for sections in every for section in sections]
    while waiting:
        for episodes in list(waiting):
            episode = next(episodes, None)
            if episode is None:
                waiting.remove(episodes)
            else:
                yield episode


def _cameras(info: LerobotInfo, episode: Episode, assumed: list[str]) -> str:
    """Returns the YAML line of the cameras: wrist cameras by their names, the others in the order of their names."""
    declared = [key for key, feature in info.features.items() if feature.dtype in ("video", "image")]
    stored = [key for key, values in episode.steps.items() if is_picture(values)]
    more = [key for key in stored if key not in info.features]
    other = [key for key in stored if key in info.features and key not in declared]  # depth, as integers
    if more:
        assumed.append(f"cameras: {', '.join(more)}, by the images in the tables, as info.json does not declare them")
    for key in stored:
        if key in info.cameras and key not in episode.frames:
            assumed.append(
                f"cameras: {key} is read from the tables, which have its images, though info.json says video"
            )
    images = [*declared, *more]
    usable = [key for key in images if not _depth(info, key) and not NOT_CAMERAS.search(key.lower())]
    chosen, left = camera_slots(usable)
    free = [slot for slot in CAMERA_SLOTS if slot not in chosen]
    chosen |= dict(zip(free, left, strict=False))
    if chosen:
        assumed.append(f"cameras: {', '.join(f'{key} is {slot}' for slot, key in chosen.items())}, by their names")
    unused = [key for key in (*images, *other) if key not in chosen.values()]
    if unused:
        assumed.append(f"cameras: {', '.join(unused)} are not used; there are four slots, and none for depth or masks")
    return flow("cameras", {slot: chosen[slot] for slot in CAMERA_SLOTS if slot in chosen})


def _depth(info: LerobotInfo, key: str) -> bool:
    return key in info.features and info.features[key].depth


def _language(folder: LerobotFolder, episodes: Sequence[Episode], assumed: list[str]) -> list[str]:
    several = sum(len(set(one.tasks)) > 1 for one in folder.episodes.values()) if not folder.tasks else 0
    if several:
        assumed.append(
            f"language: none for {several} episodes of several tasks, as no list of tasks says which task_index means which"
        )
    changing = sum(len(set(one.tasks)) > 1 for one in folder.episodes.values()) if folder.tasks else 0
    if changing:
        assumed.append(
            f"language: that of the first step for all steps, though {changing} of {len(folder.episodes)} episodes have several "
            "tasks"
        )
    if folder.tasks or any(one.tasks for one in folder.episodes.values()):
        return ["language: task"]
    return language_lines(episodes, assumed)
