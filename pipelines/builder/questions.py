"""Makes questions and captions that a robot episode answers by itself.

`questions.yaml` has the wording, and this module computes the facts from the standardised episode: its instruction, commanded
motion, gripper and length. A row's own random bits choose its wording, so repeated builds have the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
import yaml
from numpy.typing import NDArray

from fasttok.actions.representation import Representation
from fasttok.common import json_files
from fasttok.episodes.index_file import IndexedEntry
from fasttok.errors import InputError
from pipelines.datasets.actions import representation

STILL_CM = 1  # a motion that rounds to less counts as no motion
HALF = 0.5  # a gripper with a larger opening counts as open
AXES = ("x", "y", "z")
NEEDS = {"motion": "x, y, z in metres", "gripper": "a gripper", "subtask": "a gripper"}


@dataclass(frozen=True, eq=False)
class Scene:
    """An episode at one step, as questions see it.

    Attributes:
        task: instruction of the episode.
        step: step in the episode, from 0.
        stop: step from which on nothing is known: the episode's end, or a gap where steps are left out.
        action: (T, D) float32 standardised actions.
        before: (D,) values of `action` before this step, if the columns of `dims` are positions, see `Scenes`; else None.
        dims: axis name -> column of `action` that moves along it.
        rate: factor that turns a value of these columns into metres: seconds per step for velocities in m/s, else 1.
        gripper: (T,) opening of the gripper, 1 = open; None without a gripper.
        ahead: number of steps that a motion looks ahead.
    """

    task: str
    step: int
    stop: int
    action: NDArray[np.float32]
    before: NDArray[np.float64] | None
    dims: Mapping[str, int]
    rate: float
    gripper: NDArray[np.float32] | None
    ahead: int


class Scenes:
    """The scenes of one episode, with the meaning of the action's columns from the dataset's entry."""

    def __init__(
        self,
        entry: IndexedEntry,
        task: str,
        action: NDArray[np.float32],
        proprio: NDArray[np.float32],
        ends: NDArray[np.int64] | None = None,
    ) -> None:
        """Takes a standardised episode.

        Args:
            entry: entry of its dataset.
            task: its instruction.
            action: (T, D) actions.
            proprio: (T, S) proprio.
            ends: (T,) for each step, where its run of steps ends; None if no steps are left out.
        """
        self.entry, self.task, self.action, self.proprio, self.ends = entry, task, action, proprio, ends

    def at(self, step: int) -> Scene:
        """Returns the scene at a step, counted from 0."""
        dims = motion_columns(self.entry)
        first = next(iter(dims.values()), 0)
        unit = _columns(self.entry)[first][1] if dims else ""
        positions = bool(dims) and self.entry.action_encoding[first] == "absolute" and unit == "m"
        hz = self.entry.control_hz or 1.0
        column = gripper_column(self.entry)
        return Scene(
            task=self.task,
            step=step,
            stop=len(self.action) if self.ends is None else int(self.ends[step]),
            action=self.action,
            before=self._before[step] if positions else None,
            dims=dims,
            rate=1 / hz if unit == "m/s" else 1.0,
            gripper=None if column is None else self.action[:, column],
            ahead=max(1, round(hz)),
        )

    @cached_property
    def _before(self) -> NDArray[np.float64]:
        """(T, D) values of the actions before each step.

        They are the actions of the step before. At a run's first step they are the recorded state, or that step's own action in
        columns whose state is not known.
        """
        try:
            moves = representation(self.entry, self.entry.name, "delta", "stored")
        except InputError:  # several columns of the proprio could be the state
            moves = None
        return (moves or Representation(form="delta", pieces=())).reference(self.action, self.proprio, self.ends)


@dataclass(frozen=True)
class Wording:
    """How one question is asked and answered: an entry of questions.yaml.

    Most attributes are for one question only, whose name comes first below.

    Attributes:
        prompts: each row takes one of these.
        answers: each row takes one of these.
        axes: motion: axis -> words for the positive and for the negative direction.
        still: motion: text if nothing moves.
        move: motion: text for a motion along one axis, with {cm} and {direction}.
        opens: motion: text if the gripper opens.
        closes: motion: text if the gripper closes.
        open: gripper: word for an open gripper.
        closed: gripper: word for a closed gripper.
        reach: subtask: text before the gripper closes.
        hold: subtask: text while the gripper is closed.
        release: subtask: text shortly before the gripper opens.
        done: subtask: text after the gripper opened.
    """

    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    axes: dict[str, tuple[str, str]] = field(default_factory=dict)
    still: str = ""
    move: str = ""
    opens: str = ""
    closes: str = ""
    open: str = ""
    closed: str = ""
    reach: str = ""
    hold: str = ""
    release: str = ""
    done: str = ""


@cache
def words() -> dict[str, Wording]:
    """Reads questions.yaml. Returns name of each question -> its wording."""
    text = files("pipelines.builder").joinpath("questions.yaml").read_text(encoding="utf-8")
    return {
        name: json_files.decode(Wording, value, f"questions.yaml: {name}")
        for name, value in yaml.safe_load(text).items()
    }


def check(names: Sequence[str], entry: IndexedEntry, source: str) -> None:
    """Checks that a dataset can answer these questions.

    Raises:
        InputError: the dataset lacks what a question is about, or `caption` is not the only question of the source.
    """
    if "caption" in names and len(names) > 1:
        raise InputError(f"source {source!r}: `caption` makes captions, the others questions; give them a source each")
    for name in names:
        able = motion_columns(entry) if name == "motion" else gripper_column(entry) is not None
        if name in NEEDS and not able:
            raise InputError(
                f"source {source!r}: question {name!r} is about {NEEDS[name]}, which the actions of {entry.name} have not "
                f"({', '.join(entry.action_names) or 'no names'}); leave it out"
            )


def motion_columns(entry: IndexedEntry) -> dict[str, int]:
    """Returns axis -> column of the action that moves the end effector along it.

    {} unless there are two axes or more, all with the same encoding and the same unit, m or m/s.
    """
    columns = _columns(entry)
    found: dict[str, int] = {}
    for axis in AXES:
        for column, (name, unit) in enumerate(columns):
            if name in (axis, f"v{axis}") and unit in ("m", "m/s"):
                found.setdefault(axis, column)
    same = {(columns[column][1], entry.action_encoding[column]) for column in found.values()}
    return found if len(found) > 1 and len(same) == 1 else {}


def gripper_column(entry: IndexedEntry) -> int | None:
    """Returns the column of the first gripper of an action; None without a gripper."""
    encoding = list(entry.action_encoding)
    return encoding.index("gripper") if "gripper" in encoding else None


def ask(name: str, bits: int, at: Scene) -> tuple[str, str] | None:
    """Returns (prompt, answer) of one question; None if the episode has no instruction.

    Args:
        name: name of the question.
        bits: 64 random bits that choose the wording.
        at: the episode and the step.
    """
    if not at.task.strip():
        return None
    said = words()[name]
    prompts, answers = said.prompts, said.answers
    fields = (
        {"task": at.task.strip(), **_ANSWERERS[name](said, at)} if name in _ANSWERERS else {"task": at.task.strip()}
    )
    prompt = prompts[bits % len(prompts)]
    answer = answers[(bits >> 32) % len(answers)]
    return _fill(prompt, fields), _fill(answer, fields)


def subtask(at: Scene) -> str:
    """Returns what the robot is doing, judged by its gripper: "reaching for the object", "moving the object" and so on."""
    return _subtask(words()["subtask"], at)["subtask"]


def _fill(template: str, fields: Mapping[str, str]) -> str:
    """Replaces the fields in braces, once: braces that an instruction contains are never read as a field."""
    parts = template.split("{")
    return parts[0] + "".join(fields[name] + rest for name, rest in (part.split("}", 1) for part in parts[1:]))


def _motion(said: Wording, at: Scene) -> dict[str, str]:
    stop = min(at.step + at.ahead, at.stop)
    moved = []
    for axis, column in at.dims.items():
        values = at.action[at.step : stop, column].astype(np.float64)
        metres = float(values.sum()) * at.rate if at.before is None else float(values[-1] - at.before[column])
        cm = round(100 * abs(metres))
        if cm >= STILL_CM:
            moved.append((cm, said.axes[axis][int(metres < 0)]))
    phrases = [said.move.format(cm=cm, direction=word) for cm, word in sorted(moved, key=lambda m: -m[0])]
    if at.gripper is not None:
        before, after = at.gripper[at.step] > HALF, at.gripper[stop - 1] > HALF
        if before != after:
            phrases.append(said.opens if after else said.closes)
    return {"motion": _listed(phrases) or said.still}


def _gripper(said: Wording, at: Scene) -> dict[str, str]:
    assert at.gripper is not None  # `check` made sure of it
    return {"gripper": said.open if at.gripper[at.step] > HALF else said.closed}


def _progress(_said: Wording, at: Scene) -> dict[str, str]:
    return {"percent": str(10 * (10 * (at.step + 1) // len(at.action)))}


def _subtask(said: Wording, at: Scene) -> dict[str, str]:
    assert at.gripper is not None
    closed = at.gripper <= HALF
    now = at.step
    if closed[now]:
        lets_go = np.flatnonzero(~closed[now : at.stop])
        near = len(lets_go) > 0 and lets_go[0] <= max(1, at.ahead // 2)
        return {"subtask": said.release if near else said.hold}
    return {"subtask": said.done if closed[:now].any() else said.reach}


def _listed(phrases: list[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _columns(entry: IndexedEntry) -> list[tuple[str, str]]:
    """Returns (name, unit) of each column of an action."""
    found: list[tuple[str, str]] = []
    for piece, width in zip(entry.action, entry.action_widths, strict=True):
        names = piece.names if len(piece.names) == width else ("",) * width
        found += [(name, piece.unit) for name in names]
    return found


Answerer = Callable[[Wording, Scene], dict[str, str]]  # returns field of an answer -> its text
_ANSWERERS: dict[str, Answerer] = {"motion": _motion, "gripper": _gripper, "progress": _progress, "subtask": _subtask}
