"""Drafts an entry for HDF5 files, from what they say, the conventions of the project that wrote them, and measurements."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import Encoding
from fasttok.episodes import Episode, as_float
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.hdf5_episode import read_demo
from fasttok.episodes.hdf5_facts import HdfFacts
from fasttok.episodes.hdf5_file import FAULTS, brief, opened
from fasttok.episodes.hdf5_layout import HdfLayout, contents, files_below
from fasttok.errors import InputError
from pipelines.check.action_meaning import action_meanings, part_meaning
from pipelines.drafts.draft import Draft
from pipelines.drafts.lines import EntryPart, camera_slots, flow, listed

FEWEST_SEEN, MOST_SEEN, MOST_STEPS = 5, 20, 20_000  # episodes and steps that are measured
MOST_FILES = 30  # files that are opened to find these episodes
XYZ, TURN, QUATERNION = ("x", "y", "z"), ("rx", "ry", "rz"), ("qx", "qy", "qz", "qw")
ROBOSUITE_STATE = re.compile(r"obs/robot\d_(eef_pos|eef_quat|gripper_qpos)")
STATES = (
    ("obs/ee_states", "obs/gripper_states"),
    ("observations/qpos",),
    ("obs/agent/qpos",),
    ("observation/robot_state/cartesian_position", "observation/robot_state/gripper_position"),
    ("observation/state",),
    ("obs/state",),
    ("observations/state",),
    ("state",),
    ("qpos",),
    ("observations",),
)
LANGUAGE = re.compile(r"instruction|language|task")


@dataclass
class _Notes:
    """What a draft assumed, and what it must ask."""

    assumed: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Sample:
    """Some episodes of the dataset, and what its files say.

    Attributes:
        name: name of the dataset.
        layout: layout of its files.
        facts: what the files say about the first episode.
        episodes: some episodes, from the first files.
        steps: flat feature name -> numbers per step, in the first episode.
    """

    name: str
    layout: HdfLayout
    facts: HdfFacts
    episodes: list[Episode]
    steps: dict[str, int]

    def columns(self, names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Returns some features side by side: an array per episode that has all of them."""
        having = [e.steps for e in self.episodes if all(isinstance(e.steps.get(name), np.ndarray) for name in names)]
        return [np.concatenate([as_float(np.asarray(steps[name])) for name in names], axis=1) for steps in having]


def propose(path: str) -> Draft:
    """Drafts an entry for a file, or for a folder of files.

    Raises:
        InputError: there are no files or none has an episode; says what is wrong with the first.
    """
    sample, notes = _sample(path), _Notes()
    first = sample.episodes[0]
    hz = sample.facts.control_hz
    if hz is None:
        notes.questions.append(
            "control_hz: how many steps are there a second? The files do not say it; `index --control-hz NAME=HZ` says it, too"
        )
    cameras, left = camera_slots(
        name for name, frames in first.frames.items() if not frames.check() and not name.startswith("next_obs/")
    )
    if left:
        notes.assumed.append(f"cameras: {', '.join(left)} are left out, as their names fit no further slot")
    state = _state(sample, notes)
    lines = [
        f"# A draft from the files of {sample.name}.",
        flow("name", sample.name),
        "kind: robot",
        "format: hdf5",
        flow("robot", sample.facts.robot),
        f"control_hz: {'null' if hz is None else f'{hz:g}'}",
        flow("cameras", dict(cameras)),
        f"language: {_language(first, notes) or 'null'}",
        *listed("action", _action(sample, state, notes)),
        *listed("proprio", state),
    ]
    if "success" in first.metadata:
        lines.append("# filters: {success: success}")
    lines.append("license: ''")
    return Draft("\n".join(lines) + "\n", tuple(notes.assumed), tuple(notes.questions))


def _sample(path: str) -> _Sample:
    files = files_below(path)
    if not files:
        raise InputError(f"{path} contains no .hdf5 or .h5 files")
    found: list[tuple[HdfLayout, HdfFacts, Episode]] = []
    fault = ""
    steps = 0
    for file in files[:MOST_FILES]:
        try:
            for layout, facts, episode in _episodes(file, dataset_name(path)):
                if isinstance(episode, str):
                    fault = fault or episode
                    continue
                found.append((layout, facts, episode))
                steps += episode.length
                if len(found) >= MOST_SEEN or (steps > MOST_STEPS and len(found) >= FEWEST_SEEN):
                    break
        except FAULTS as error:
            fault = fault or f"{file}: {brief(error)}"
        if len(found) >= MOST_SEEN or steps > MOST_STEPS:
            break
    if not found:
        raise InputError(
            f"{path}: no episode can be read, so no entry can be drafted; {fault or 'its files contain none'}"
        )
    layout, facts, first = found[0]
    widths = {
        key: as_float(values).shape[1]
        for key, values in first.steps.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
    }
    return _Sample(dataset_name(path), layout, facts, [episode for _, _, episode in found], widths)


def _episodes(file: str, name: str) -> Iterator[tuple[HdfLayout, HdfFacts, Episode | str]]:
    with opened(file) as stream:
        found = contents(stream, file)
        for demo in islice(found.demos, MOST_SEEN):
            episode = read_demo(stream, file, demo, name)
            yield found.layout, demo.facts, episode if isinstance(episode, Episode) else str(episode)


def _language(episode: Episode, notes: _Notes) -> str | None:
    if episode.metadata.get("language"):
        return "language"
    texts = [key for key, values in episode.steps.items() if isinstance(values, list) and LANGUAGE.search(key)]
    texts += [key for key, value in episode.metadata.items() if isinstance(value, str) and LANGUAGE.search(key)]
    if len(texts) > 1:
        notes.questions.append(f"language: which of {', '.join(texts)} is the instruction? The draft says {texts[0]}")
    if not texts:
        notes.assumed.append("language: null, as the files name no instruction")
    return texts[0] if texts else None


def _state(sample: _Sample, notes: _Notes) -> list[EntryPart]:
    """Returns the parts of the state, by the names that known projects give them."""
    names = [name for name in sample.steps if ROBOSUITE_STATE.fullmatch(name)]
    if names:
        order = ("eef_pos", "eef_quat", "gripper_qpos")
        names.sort(key=lambda name: (name.split("_")[0], order.index(name.split("_", 1)[1])))
        return [_named(name, sample.steps[name]) for name in names]
    known = next((group for group in STATES if all(name in sample.steps for name in group)), ())
    if known == ("obs/ee_states", "obs/gripper_states") and sample.steps["obs/ee_states"] == 6:
        return [
            {"from": known[0], "slice": [0, 3], "unit": "m", "names": [*XYZ]},
            {"from": known[0], "slice": [3, 6], "rotation": "rotation_vector", "unit": "rad", "names": [*TURN]},
            {"from": known[1], "unit": "m"},
        ]
    if not known:
        like = [n for n in sample.steps if re.search(r"(^|/)(state|proprio|qpos|joint_pos\w*|eef_pos\w*)$", n)]
        like = [name for name in like if not name.startswith(("next_obs/", "action"))]
        if len(like) > 1:
            notes.questions.append(f"proprio: which of {', '.join(like)} are the state? The draft takes all")
        if not like:
            notes.assumed.append("proprio: none, as no column is called a state")
        return [{"from": name} for name in like]
    return [{"from": name} for name in known]


def _named(name: str, width: int) -> EntryPart:
    """Returns the part of an observation of robosuite."""
    if name.endswith("eef_pos") and width == 3:
        return {"from": name, "unit": "m", "names": [*XYZ]}
    if name.endswith("eef_quat") and width == 4:
        return {"from": name, "rotation": "quaternion_xyzw", "names": [*QUATERNION]}
    return {"from": name, "unit": "m"}


def _action(sample: _Sample, state: list[EntryPart], notes: _Notes) -> list[EntryPart]:
    if "action" not in sample.steps:
        there = [name for name in sample.steps if not name.startswith("next_obs/")]
        notes.questions.append(f"action: which of {', '.join(there)} are the action, side by side?")
        return []
    width, facts = sample.steps["action"], sample.facts
    encoding: Encoding = "absolute"
    if facts.controller and facts.delta is not None:
        encoding = "delta" if facts.delta else "absolute"
        parts = _of_simulator(facts.controller, width, encoding, sample, notes)
        if parts:
            return parts
        notes.questions.append(
            f"action: which of the {width} columns are the gripper, and which of its values is open? {facts.controller} has "
            "other columns as a rule"
        )
    elif sample.layout == "file" and "observations/qpos" in sample.steps and width in (14, 16):
        notes.assumed.append(
            "action: two arms of six joints in rad and a gripper, as ALOHA writes them; 0 is a closed gripper and 1 an open one"
        )
        return _of_aloha(width)
    else:
        encoding = _measured(sample, state, notes)
        if _robosuite_gripper(sample, width):
            notes.assumed.append(f"action: column {width - 1} is a gripper that -1 opens, as in all of robosuite")
            return [{"from": "action", "slice": [0, width - 1], "encoding": encoding}, _gripper(width - 1, 1, -1)]
    _ask_for_gripper(sample, width, notes)
    return [{"from": "action", "encoding": encoding}]


def _of_aloha(width: int) -> list[EntryPart]:
    parts: list[EntryPart] = []
    for start in (0, 7):
        joints = [f"joint {i}" for i in range(6)]
        parts.append(
            {"from": "action", "slice": [start, start + 6], "encoding": "absolute", "unit": "rad", "names": joints}
        )
        parts.append(_gripper(start + 6, 0, 1))
    if width == 16:
        parts.append(
            {"from": "action", "slice": [14, 16], "encoding": "delta", "names": ["base linear", "base angular"]}
        )
    return parts


def _of_simulator(controller: str, width: int, encoding: Encoding, sample: _Sample, notes: _Notes) -> list[EntryPart]:
    """Returns the parts of an action of robosuite or ManiSkill, in which the last column per arm is the gripper.

    Returns [] if the columns or their values are not as usual there.
    """
    robosuite = controller.isupper()
    pose = bool(re.search(r"OSC_POSE|IK_POSE|pd_ee\w*_pose", controller))
    place = bool(re.search(r"OSC_POSITION|pd_ee\w*_pos$", controller))
    size = 7 if pose else 4 if place else 8
    values = np.concatenate([columns[:, size - 1 :: size] for columns in sample.columns(["action"])])
    if width % size or np.abs(values).max() > 1:
        return []
    project = "robosuite" if robosuite else "ManiSkill"
    closed, opens = (1, -1) if robosuite else (-1, 1)
    notes.assumed.append(
        f"action: {controller} of {project}: {encoding} {'poses' if pose else 'places' if place else 'joints'} as its controller "
        f"scales them, and a gripper that {opens} opens"
    )
    parts: list[EntryPart] = []
    for start in range(0, width, size):
        last = start + size - 1
        if pose or place:
            parts.append({"from": "action", "slice": [start, start + 3], "encoding": encoding, "names": [*XYZ]})
        if pose:
            turn: EntryPart = {"from": "action", "slice": [start + 3, start + 6], "encoding": encoding}
            parts.append({**turn, "rotation": "rotation_vector", "names": [*TURN]} if robosuite else turn)
        if not pose and not place:
            parts.append({"from": "action", "slice": [start, last], "encoding": encoding})
        parts.append(_gripper(last, closed, opens))
    return parts


def _robosuite_gripper(sample: _Sample, width: int) -> bool:
    """Whether the last column of a single arm is robosuite's gripper, for files that record no controller."""
    last = np.concatenate([columns[:, -1] for columns in sample.columns(["action"])])
    observed = sum(bool(re.fullmatch(r"obs/robot\d_gripper_qpos", name)) for name in sample.steps) == 1
    return observed and bool(sample.facts.environment) and width > 1 and set(np.unique(last).tolist()) == {-1.0, 1.0}


def _gripper(column: int, closed: int, opens: int) -> EntryPart:
    ends: EntryPart = {"encoding": "gripper", "closed": closed, "open": opens, "names": ["gripper"]}
    return {"from": "action", "slice": [column, column + 1], **ends}


def _measured(sample: _Sample, state: list[EntryPart], notes: _Notes) -> Encoding:
    """Returns whether the action is absolute or a delta, by how the state follows it; asks if that is not clear."""
    names = list(dict.fromkeys(part["from"] for part in state))
    actions, states = sample.columns(["action", *names]), sample.columns(names) if names else []
    width = sample.steps["action"]
    if states:
        found = part_meaning(action_meanings([a[:, :width] for a in actions], states, sample.facts.control_hz))
        if found.strength == "strong" and found.meaning != "unknown":
            encoding: Encoding = "absolute" if found.meaning == "absolute" else "delta"
            notes.assumed.append(
                f"action: {found.meaning}, as the state follows it so in {len(actions)} episodes ({found.dims} of {found.of} "
                "columns)"
            )
            return encoding
    notes.questions.append(
        "action: is it absolute (where to be) or a delta (how far to go, or how fast)? The draft says absolute"
    )
    return "absolute"


def _ask_for_gripper(sample: _Sample, width: int, notes: _Notes) -> None:
    values = np.concatenate(sample.columns(["action"]))
    few = [d for d in range(width) if len(np.unique(values[:, d])) == 2]
    if few and len(few) < width:
        ends = ", ".join(f"column {d} ({np.min(values[:, d]):g} or {np.max(values[:, d]):g})" for d in few)
        notes.questions.append(
            f"action: {ends} has two values: if it is a gripper, which is open? Write "
            "{from: action, slice: [FIRST, LAST + 1], encoding: gripper, closed: ..., open: ...}"
        )
