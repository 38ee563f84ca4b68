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
from pipelines.builder.questions import Scenes, ask, check, gripper_column, motion_columns, subtask, words


def entry(encoding: Encoding = "delta", unit: str = "m", names: tuple[str, ...] = ("x", "y", "z")) -> IndexedEntry:
    pieces = (FeatureColumns("action", names=names, unit=unit), FeatureColumns("action", names=("gripper",)))
    columns = (*[encoding] * len(names), "gripper")
    return IndexedEntry("toy", "robot", action=pieces, action_widths=(len(names), 1), action_encoding=columns,
                        action_names=(*names, "gripper"), control_hz=4)  # fmt: skip


def actions(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def scenes(
    of: IndexedEntry,
    action: np.ndarray,
    proprio: np.ndarray | None = None,
    ends: np.ndarray | None = None,
    task: str = "push it",
) -> Scenes:
    return Scenes(of, task, action, np.zeros((len(action), 0), np.float32) if proprio is None else proprio, ends)


def answer(name: str, action: np.ndarray, step: int = 0, task: str = "push it", **more: Any) -> str:
    found = ask(name, 0, scenes(entry(**more), action, task=task).at(step))
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


@pytest.mark.parametrize("hz", [1, 3, 10])
@pytest.mark.parametrize("ends", [[6] * 6, [4, 4, 4, 4, 6, 6]])
@pytest.mark.parametrize("states", [True, False])
def test_equal_movements_have_equal_answers(hz: int, ends: list[int], states: bool) -> None:
    """Changes of 3 cm per step, and the positions where these lead from the recorded state."""
    moves = actions(*[(0.03, 0, 0, 1)] * 6)
    state = np.cumsum(moves[:, :3], axis=0, dtype=np.float32) - moves[:, :3]
    places = np.concatenate([state + moves[:, :3], moves[:, 3:]], axis=1)
    changes, positions = (replace(entry(encoding), control_hz=float(hz)) for encoding in ("delta", "absolute"))
    if states:
        part = FeatureColumns("state", names=("x", "y", "z"), unit="m")
        positions = replace(positions, proprio=(part,), proprio_widths=(3,), proprio_dim=3)
    for step in range(6):
        by_changes = ask("motion", 0, scenes(changes, moves, ends=np.array(ends)).at(step))
        by_positions = ask("motion", 0, scenes(positions, places, state, np.array(ends)).at(step))
        steps = min(hz, ends[step] - step)
        assert by_changes is not None
        assert by_changes[1] == f"{3 * steps} cm forward"
        if states or step not in (0, *ends):
            assert by_positions == by_changes
        else:  # nothing says where the arm was before the first step of a run
            assert by_positions is not None
            assert by_positions[1] == (f"{3 * (steps - 1)} cm forward" if steps > 1 else words()["motion"].still)


def test_a_state_that_is_not_known_is_not_guessed() -> None:
    """Two parts of the proprio could be the state of x, y and z: the motion is counted from the action itself."""
    parts = tuple(FeatureColumns(f"arm {n}", names=("x", "y", "z"), unit="m") for n in range(2))
    unsure = replace(entry("absolute"), proprio=parts, proprio_widths=(3, 3), proprio_dim=6)
    places = actions((0.5, 0, 0, 1), (0.6, 0, 0, 1))
    found = ask("motion", 0, scenes(unsure, places, np.zeros((2, 6), np.float32)).at(0))
    assert found is not None
    assert found[1] == "10 cm forward"


def test_what_is_behind_a_gap_is_not_ahead() -> None:
    """Of FORWARD, steps after the second are left out in the stored episode: the gripper does not close, nor open again."""
    cut = scenes(entry(), FORWARD, ends=np.array([2, 2, 4, 4, 5]))
    found = [ask(name, 0, cut.at(0)) for name in ("motion", "subtask")]
    assert [text and text[1] for text in found] == ["4 cm forward and 1 cm right", words()["subtask"].reach]
    assert subtask(cut.at(3)) == words()["subtask"].hold
    assert subtask(scenes(entry(), FORWARD).at(3)) == words()["subtask"].release


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
    assert ask("task", 5, scenes(entry(), FORWARD, task="  ").at(0)) is None


@given(st.text(min_size=1).filter(str.strip), st.integers(0, 2**64 - 1), st.sampled_from(QUESTIONS))
def test_instructions_are_never_read_as_templates(task: str, bits: int, name: str) -> None:
    found = ask(name, bits, scenes(entry(), FORWARD, task=task).at(1))
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
