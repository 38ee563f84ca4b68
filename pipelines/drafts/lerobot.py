"""A first entry for a LeRobot folder: names, frequency, cameras from meta/info.json, the meaning of actions from the actions."""

from collections.abc import Iterator
from itertools import islice

from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.episodes import Episode
from fasttok.episodes.lerobot_folder import LerobotFolder, open_folder
from fasttok.episodes.lerobot_info import LerobotInfo
from fasttok.errors import InputError
from pipelines.check.columns_by_name import find_columns
from pipelines.drafts.draft import Draft
from pipelines.drafts.lines import NOT_CAMERAS, camera_slots, flow, listed
from pipelines.drafts.measured_parts import action_parts, state_parts
from pipelines.recordings.dataset_name import dataset_name
from pipelines.recordings.lerobot import LerobotRecordings

LOOKED_AT = 20  # episodes, of which the actions tell what they mean


def propose(directory: str) -> Draft:
    """A first entry.

    Raises:
        InputError: meta/ is missing or damaged, or no episode can be read.
    """
    folder = open_folder(directory)
    info = folder.info
    assumed: list[str] = []
    questions: list[str] = []
    name = dataset_name(directory)
    if info.fps is None:
        questions.append(f"control_hz: info.json says no fps; `index --control-hz {name}=HZ` may say it, too")
    episodes = list(islice(_readable(directory), LOOKED_AT))
    if not episodes:
        raise InputError(
            f"{directory}: no episode can be read; look at data/ and meta/, or copy the whole folder again"
        )
    columns = find_columns(None, episodes[0])
    if not columns.action:
        there = ", ".join(sorted(episodes[0].steps))
        questions.append(f"action: no column is called action; there are {there}")
    if not columns.state:
        assumed.append("proprio: none, as no column is called observation.state")
    action = action_parts(columns, episodes, info.fps, assumed, questions) if columns.action else []
    lines = [
        flow("name", name),
        "kind: robot",
        "format: lerobot",
        flow("robot", info.robot_type),
        flow("control_hz", int(info.fps) if info.fps and info.fps.is_integer() else info.fps),
        _cameras(info, assumed),
        *_language(folder, assumed),
        *listed("action", action),
        *listed("proprio", state_parts(columns.state)),
    ]
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


def _cameras(info: LerobotInfo, assumed: list[str]) -> str:
    """Cameras by slot: wrist cameras by their names, the others in the order of their names."""
    images = [key for key, feature in info.features.items() if feature.dtype in ("video", "image")]
    usable = [key for key in images if not info.features[key].depth and not NOT_CAMERAS.search(key.lower())]
    chosen, left = camera_slots(usable)
    free = [slot for slot in CAMERA_SLOTS if slot not in chosen]
    chosen |= dict(zip(free, left, strict=False))
    if chosen:
        assumed.append(f"cameras: {', '.join(f'{key} is {slot}' for slot, key in chosen.items())}, by their names")
    unused = [key for key in images if key not in chosen.values()]
    if unused:
        assumed.append(f"cameras: {', '.join(unused)} are not used; there are four slots, and none for depth or masks")
    return flow("cameras", {slot: chosen[slot] for slot in CAMERA_SLOTS if slot in chosen})


def _language(folder: LerobotFolder, assumed: list[str]) -> list[str]:
    if folder.tasks or any(episode.tasks for episode in folder.episodes.values()):
        return ["language: task"]
    assumed.append("language: none, as the folder has no tasks")
    return ["language: null", "filters: {language: false}"]
