"""Forms of actions: what they mean, and that every one of them can be undone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fasttok.actions.representation import ActionColumns, Representation
from fasttok.actions.rotations import STORED, from_6d, read, width, write
from fasttok.common import json_files
from fasttok.common.action_forms import ACTION_FORMS, ROTATION_FORMS, ActionForm, RotationForm
from fasttok.errors import InputError
from mixtures.spec import Source

N, T = 3, 6


def pieces(rotation: str, encoding: Any) -> tuple[ActionColumns, ...]:
    """Position, rotation and gripper of one arm; the state holds position and rotation in another order."""
    wide = width(rotation)
    return (
        ActionColumns(0, 3, encoding, state=(wide, wide + 1, wide + 2)),
        ActionColumns(3, wide, encoding, rotation, state=tuple(range(wide))),
        ActionColumns(3 + wide, 1, "gripper"),
    )


def random_chunks(rng: np.random.Generator, rotation: str, dim: int) -> np.ndarray:
    chunks = rng.normal(size=(N, T, dim))
    turns = Rotation.random(N * T, random_state=int(rng.integers(2**31)))
    chunks[..., 3 : 3 + width(rotation)] = write(turns, rotation).reshape(N, T, -1)
    return chunks.astype(np.float32)


@given(st.sampled_from(STORED), st.sampled_from(ACTION_FORMS), st.sampled_from(ROTATION_FORMS),
       st.sampled_from(["absolute", "delta"]), st.integers(0, 2**31))  # fmt: skip
def test_every_form_can_be_undone(rotation: str, form: Any, asked: Any, encoding: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    represent = Representation(form=form, rotation=asked, step=0.1, pieces=pieces(rotation, encoding))
    dim = 4 + width(rotation)
    chunks, proprio = random_chunks(rng, rotation, dim), rng.normal(size=(N, 3 + width(rotation)))
    proprio[:, : width(rotation)] = write(Rotation.random(N, random_state=seed), rotation)
    reference = represent.state(proprio, chunks[:, 0])
    values = represent(chunks, reference)
    assert values.shape == (N, T, represent.dim)
    assert len(represent.encoding) == len(represent.names(["x"] * dim)) == represent.dim
    again = represent.restore(values, reference)
    assert np.allclose(again[..., :3], chunks[..., :3], atol=1e-5)
    assert np.array_equal(again[..., -1], chunks[..., -1])  # a gripper is never touched
    turned = read(again[..., 3:-1].reshape(-1, width(rotation)), rotation)
    stored = read(chunks[..., 3:-1].reshape(-1, width(rotation)), rotation)
    assert (turned * stored.inv()).magnitude().max() < 1e-3
    if represent.stored:
        assert np.array_equal(values, chunks)
    assert json_files.decode(Representation, json_files.encode(represent), "test") == represent


def test_relative_is_what_was_moved_since_the_chunk_began() -> None:
    represent = Representation(form="relative", rotation="6d", pieces=pieces("euler_xyz", "absolute"))
    state = np.array([[0.1, 0.2, 0.3, 1.0, 2.0, 3.0]])  # rotation first
    action = np.array([[[1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 1.0], [1.5, 2.0, 3.0, 0.1, 0.2, 0.8, 0.0]]])
    values = represent(action, represent.state(state, np.zeros((1, 7))))
    assert np.allclose(values[0, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0, 1], atol=1e-6)
    assert np.allclose(values[0, 1, :3], [0.5, 0, 0])
    turn = Rotation.from_euler("xyz", [0.1, 0.2, 0.8]) * Rotation.from_euler("xyz", [0.1, 0.2, 0.3]).inv()
    assert np.allclose(from_6d(values[0, 1, 3:9]).as_matrix(), turn.as_matrix(), atol=1e-6)
    assert represent.encoding == ("relative",) * 9 + ("gripper",)
    assert represent.names(list("xyzabcg"))[3:] == ("r11", "r21", "r31", "r12", "r22", "r32", "g")


def test_a_step_of_a_delta_form_is_the_difference_to_the_step_before() -> None:
    represent = Representation(form="delta", pieces=pieces("euler_xyz", "absolute"))
    rng = np.random.default_rng(0)
    actions = random_chunks(rng, "euler_xyz", 7).reshape(-1, 7)
    proprio = rng.normal(size=(len(actions), 6))
    reference = represent.reference(actions, proprio)
    assert np.allclose(reference[0], [*proprio[0, 3:], *proprio[0, :3], actions[0, 6]])
    assert np.allclose(reference[1:], actions[:-1])
    whole = represent(actions[None], reference[:1])[0]
    later = represent(actions[None, 4:8], reference[4:5])[0]
    assert np.allclose(later, whole[4:8], atol=1e-6)  # the same wherever the chunk begins
    held = represent(np.repeat(actions[:1], 3, axis=0)[None], actions[:1])
    assert np.allclose(held[0, :, :6], 0, atol=1e-6)  # padding: stay where you are


@pytest.mark.parametrize("form", ["relative", "delta"])
@pytest.mark.parametrize("low", [-np.pi, 0.0])  # headings from -pi to pi, or from 0 to 2 pi
def test_a_heading_that_wraps_does_not_jump_in_a_difference(form: ActionForm, low: float) -> None:
    """A base that turns by 0.2 rad per step, across the jump: subtracted numbers would say that it turned by -6.08 rad."""
    heading = np.mod(low - 0.3 + 0.2 * np.arange(5) - low, 2 * np.pi) + low
    assert np.abs(np.diff(heading)).max() > 6
    moves = Representation(form=form, pieces=(ActionColumns(0, 1, "absolute", "angle", state=(0,)),))
    values = moves(heading[None, 1:, None], heading[None, :1])
    assert np.allclose(values[0, :, 0], 0.2 * np.arange(1, 5) if form == "relative" else 0.2, atol=1e-6)
    turned = moves.restore(values, heading[None, :1])[0, :, 0] - heading[1:]
    assert np.allclose(np.mod(turned + 1, 2 * np.pi), 1, atol=1e-5)


def test_relative_form_of_velocities_is_where_they_lead() -> None:
    represent = Representation(form="relative", step=0.5, pieces=(ActionColumns(0, 2, "delta", rate=True),))
    values = represent(np.ones((1, 4, 2)), np.zeros((1, 2)))
    assert np.allclose(values[0, :, 0], [0.5, 1.0, 1.5, 2.0])


@pytest.mark.parametrize("rotation", ROTATION_FORMS)
@pytest.mark.parametrize("form", ACTION_FORMS)
def test_angular_velocities_turn_by_one_step_s_angle(form: ActionForm, rotation: RotationForm) -> None:
    """7 rad/s is more than half a turn per second: read as the turn of a step it must not wrap."""
    spin = ActionColumns(0, 3, "delta", "rotation_vector", rate=True)
    represent = Representation(form=form, rotation=rotation, step=0.1, pieces=(spin,))
    stored = np.tile([0.0, 0.0, 7.0], (2, 5, 1)) * [[[1.0]], [[-0.5]]]
    values = represent(stored, np.zeros((2, 3)))
    assert np.allclose(represent.restore(values, np.zeros((2, 3))), stored, atol=1e-5)
    if rotation == "euler":
        steps = np.arange(1, 6) if form == "relative" else np.ones(5)
        assert np.allclose(np.unwrap(values[0, :, 2]), 0.7 * steps, atol=1e-6)
    if (form, rotation) == ("relative", "stored"):
        assert np.allclose(values[1, :, 2], -0.35 * np.arange(1, 6), atol=1e-6)
    if rotation == "stored" and form != "relative":
        assert np.array_equal(values, stored.astype(np.float32))


def test_forms_that_cannot_be() -> None:
    with pytest.raises(InputError, match="action dims 0 to 2"):
        Representation(form="relative", pieces=(ActionColumns(0, 3, "absolute"),))
    with pytest.raises(InputError, match="forms are stored, relative, delta"):
        Representation(form="relativ", pieces=())  # type: ignore[arg-type]
    assert Source("s", "d").form in ACTION_FORMS
    assert Source("s", "d").rotation in ROTATION_FORMS


def test_a_networks_6d_need_not_be_orthonormal() -> None:
    turn = Rotation.random(20, random_state=0)
    noisy = write(turn, "6d") * 3 + 0.01 * np.random.default_rng(0).normal(size=(20, 6))
    assert (from_6d(noisy) * turn.inv()).magnitude().max() < 0.02


def test_a_6d_that_decides_no_rotation_is_one_anyway() -> None:
    values = np.array(np.meshgrid(*[[-1.0, 0.0, 2.0]] * 6)).reshape(6, -1).T  # zeros and parallel columns among them
    found = from_6d(values)
    assert np.allclose(np.linalg.det(found.as_matrix()), 1.0)
    assert np.allclose(found.as_matrix()[:, :, 0], from_6d(write(found, "6d")).as_matrix()[:, :, 0])
    first = np.linalg.norm(values[:, :3], axis=1, keepdims=True)
    assert np.allclose((found.as_matrix()[:, :, 0] * first)[first[:, 0] > 0], values[first[:, 0] > 0, :3])
