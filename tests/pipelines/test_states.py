"""Which state an action part is relative to: the right arm's for the right arm, for every packaged entry and for made ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.common.action_forms import ActionForm
from fasttok.episodes.dataset_entry import FeatureColumns
from fasttok.errors import InputError
from pipelines.catalogue.commands import entry_of
from pipelines.datasets.actions import representation
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.packaged_entries import packaged
from pipelines.datasets.states import states
from tests.pipelines.made_entries import columns_of, indexed

BIMANUAL = "utokyo_xarm_bimanual_converted_externally_to_rlds"


def values(parts: tuple[FeatureColumns, ...]) -> list[np.ndarray]:
    """Columns (6, width) per part, of which no two parts have the same."""
    made = [0.1 * (i + 1) + 0.01 * np.arange(6 * columns_of(p)).reshape(6, -1) for i, p in enumerate(parts)]
    quaternions = ["quaternion" in part.rotation for part in parts]
    return [m / np.linalg.norm(m, axis=1, keepdims=True) if q else m for m, q in zip(made, quaternions, strict=True)]


@pytest.mark.parametrize("name", sorted(packaged()))
def test_a_command_that_equals_its_state_is_nothing_to_do(name: str) -> None:
    """Relative forms and the first difference are 0 for each absolute part; no entry is refused for parts that are alike."""
    entry = indexed(entry_of(name))
    if not entry.action:
        return
    found = states(entry.action, entry.action_widths, entry.proprio, entry.proprio_widths)
    proprio = np.concatenate([np.zeros((6, 0)), *values(entry.proprio)], axis=1)
    own = values(entry.action)
    action = np.concatenate([proprio[:, c] if c else own[i] for i, c in enumerate(map(list, found))], axis=1)
    without = [not c for c, part in zip(found, entry.action, strict=True) if part.encoding == "absolute"]
    forms: list[ActionForm] = ["delta"] if any(without) else ["delta", "relative"]
    if any(without):
        with pytest.raises(InputError, match="which the proprio does not have"):
            representation(entry, name, "relative", "euler")
    for form in forms:
        represent = representation(entry, name, form, "euler")
        assert represent is not None
        chunks = np.stack([action[k : k + 3] for k in range(4)])
        changed = represent(chunks, represent.reference(action, proprio)[:4])
        first = changed[:, 0] if form == "relative" else changed[:1, 0]
        absolute = [p.encoding == "absolute" for p in represent.pieces for _ in range(3 if p.rotation else p.width)]
        assert np.abs(first[:, absolute]).max(initial=0) < 1e-5


def test_each_of_two_arms_has_its_own_state() -> None:
    entry = indexed(entry_of(BIMANUAL))
    assert states(entry.action, entry.action_widths, entry.proprio, entry.proprio_widths) == (
        (0, 1, 2), (3, 4, 5), (), (6, 7, 8), (9, 10, 11), (),
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(3)), st.integers(1, 3), st.booleans())
def test_named_states_are_found_in_any_order(order: list[int], wide: int, some_named: bool) -> None:
    names = tuple("xyz"[:wide])
    proprio = [FeatureColumns(f"arm{i}", 0, wide, names=names) for i in order]
    action = [FeatureColumns("action", i * wide, (i + 1) * wide, names=names, state=f"arm{i}") for i in range(3)]
    if some_named:  # the last of three is what remains
        action[2] = FeatureColumns("action", 2 * wide, 3 * wide, names=names)
    found = states(action, [wide] * 3, proprio, [wide] * 3)
    for i, columns in enumerate(found):
        at = order.index(i) * wide
        assert columns == tuple(range(at, at + wide))


X = FeatureColumns("action", 0, 1, names=("x",))
Y = FeatureColumns("action", 1, 2, names=("x",))


@pytest.mark.parametrize(
    ("action", "proprio", "message"),
    [
        ([X, Y], [FeatureColumns("pose", 0, 1, names=("x",))], r"action\[0\], action\[1\] could take"),
        ([X], [FeatureColumns("tool", 0, 1, names=("x",)), FeatureColumns("cup", 0, 1, names=("x",))], "state: tool"),
        (
            [FeatureColumns("action/left", 0, 1, names=("x",)), FeatureColumns("action/right", 0, 1, names=("x",))],
            [FeatureColumns("pose_r", 0, 1, names=("x",)), FeatureColumns("pose_l", 0, 1, names=("x",))],
            "their order does not fit the sides",
        ),
        ([FeatureColumns("action", 0, 1, names=("x",), state="pose")], [FeatureColumns("pose", 0, 2)], "has 0 absolute"),
        (
            [FeatureColumns("action", i, i + 1, names=("x",), state="pose") for i in (0, 1)],
            [FeatureColumns("pose", 0, 1, names=("x",))],
            r"action\[0\], action\[1\] name the same state",
        ),
        (
            [FeatureColumns("action", 0, 1, names=("x",), unit="m")],
            [FeatureColumns("pose", 0, 1, names=("x",), unit="mm")],
            r"action\[0\] is in m, its state proprio\[0\] \(pose\) in mm",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_by_name(
    action: list[FeatureColumns], proprio: list[FeatureColumns], message: str
) -> None:
    widths = [(part.stop or 0) - part.start for part in proprio]
    with pytest.raises(InputError, match=message):
        states(action, [1] * len(action), proprio, widths)


def test_a_command_that_is_the_stored_state_takes_that_one() -> None:
    both = [FeatureColumns("state", i, i + 1, names=("x",)) for i in range(2)]
    assert states([both[1]], [1], both, [1, 1]) == ((1,),)


def test_a_gripper_opening_is_no_state_of_raw_columns() -> None:
    proprio = [FeatureColumns("state", 0, 1, "gripper", 1, 0, names=("gripper",))]
    assert states([FeatureColumns("action", 0, 1, names=("gripper",))], [1], proprio, [1]) == ((),)


ENTRY = "name: x\nkind: robot\ncontrol_hz: 5\ncameras: {primary: image}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action: [{from: a, state: poze}]\nproprio: [{from: pose}]", "did you mean 'pose'"),
        ("action: [{from: a, encoding: delta, state: pose}]\nproprio: [{from: pose}]", "encoding: absolute"),
        ("action: [{from: a}]\nproprio: [{from: pose, state: pose}]", "encoding: absolute"),
    ],
)
def test_wrong_states_are_explained(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_entry(ENTRY + text, "mine.yaml")
