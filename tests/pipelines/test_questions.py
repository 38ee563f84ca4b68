"""Questions about robots: facts from the standardised episode, words from the data file."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.common.kinds import Encoding
from fasttok.episodes.dataset_entry import FeatureColumns
from fasttok.episodes.index_file import IndexedEntry
from fasttok.errors import InputError
from mixtures.spec import QUESTIONS
from pipelines.builder.questions import ask, check, gripper_column, motion_columns, scene, subtask, words


def entry(encoding: Encoding = "delta", unit: str = "m", names: tuple[str, ...] = ("x", "y", "z")) -> IndexedEntry:
    pieces = (FeatureColumns("action", names=names, unit=unit), FeatureColumns("action", names=("gripper",)))
    columns = (*[encoding] * len(names), "gripper")
    return IndexedEntry("toy", "robot", action=pieces, action_widths=(len(names), 1), action_encoding=columns,
                        action_names=(*names, "gripper"), control_hz=4)  # fmt: skip


def actions(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def answer(name: str, action: np.ndarray, step: int = 0, task: str = "push it", **more: Any) -> str:
    found = ask(name, 0, scene(entry(**more), task, action, step, len(action)))
    assert found is not None
    return found[1]


FORWARD = actions((0.02, 0, 0, 1), (0.02, -0.01, 0, 1), (0.02, -0.01, 0, 0), (0.02, 0, 0, 0), (9, 9, 9, 1))


def test_motion_of_steps_velocities_and_positions() -> None:
    assert answer("motion", FORWARD) == "8 cm forward, 2 cm right and closes the gripper"
    assert answer("motion", FORWARD * 4, unit="m/s") == "8 cm forward, 2 cm right and closes the gripper"
    places = actions((0.5, 0, 0.3, 0), (0.5, 0, 0.2, 0), (0.5, 0, 0.1, 1), (0.5, 0, 0.0, 1))
    assert answer("motion", places, encoding="absolute") == "30 cm down and opens the gripper"
    assert answer("motion", np.zeros((3, 4), np.float32)) == "it stays where it is"
    assert (
        answer("motion", FORWARD, step=4) == "900 cm forward, 900 cm left and 900 cm up"
    )  # the end cuts what is ahead


def test_what_is_behind_a_gap_is_not_ahead() -> None:
    """Of FORWARD, steps after the second are left out in the stored episode: the gripper does not close, nor open again."""
    found = [ask(name, 0, scene(entry(), "push it", FORWARD, 0, 2)) for name in ("motion", "subtask")]
    assert [text and text[1] for text in found] == ["4 cm forward and 1 cm right", words()["subtask"].reach]
    kept = scene(entry(), "push it", FORWARD, 3, 4)
    assert subtask(kept) == words()["subtask"].hold
    assert subtask(replace(kept, stop=5)) == words()["subtask"].release


def test_gripper_progress_subtask_task_caption() -> None:
    assert [answer("gripper", FORWARD, i) for i in range(5)] == ["open", "open", "closed", "closed", "open"]
    assert [answer("progress", FORWARD, i) for i in range(5)] == ["20", "40", "60", "80", "100"]
    said = words()["subtask"]
    steps = [said.reach, said.reach, said.release, said.release, said.done]
    assert [answer("subtask", FORWARD, i) for i in range(5)] == steps
    held = actions(*[(0, 0, 0, 0)] * 9)
    assert answer("subtask", held, 2) == said.hold
    assert answer("task", FORWARD) == "push it"
    assert "push it" in answer("caption", FORWARD)


def test_without_an_instruction_there_is_nothing_to_ask() -> None:
    assert ask("task", 5, scene(entry(), "  ", FORWARD, 0, 5)) is None


@given(st.text(min_size=1).filter(str.strip), st.integers(0, 2**64 - 1), st.sampled_from(QUESTIONS))
def test_instructions_are_never_read_as_templates(task: str, bits: int, name: str) -> None:
    found = ask(name, bits, scene(entry(), task, FORWARD, 1, 5))
    assert found is not None
    prompt, target = found
    assert target
    if "{task}" in words()[name].prompts[bits % len(words()[name].prompts)]:
        assert task.strip() in prompt


def test_words_have_every_question() -> None:
    assert set(words()) == set(QUESTIONS)


def test_datasets_that_cannot_answer_are_refused() -> None:
    joints = entry(names=("joint 0", "joint 1", "joint 2"))
    assert motion_columns(joints) == {}
    assert motion_columns(entry(unit="")) == {}
    assert motion_columns(entry(names=("vx", "vy", "vz"), unit="m/s")) == {"x": 0, "y": 1, "z": 2}
    with pytest.raises(InputError, match=r"question 'motion' is about x, y, z in metres.*joint 0"):
        check(["motion"], joints, "s")
    plain = replace(entry(), action_encoding=("delta",) * 4)
    assert gripper_column(plain) is None
    with pytest.raises(InputError, match="question 'subtask' is about a gripper"):
        check(["task", "subtask"], plain, "s")
