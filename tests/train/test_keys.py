"""Key maps: what robots send becomes what the model sees, and what it cannot see is said."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fasttok import NormStats
from fasttok.actions.representation import ActionColumns, Representation
from fasttok.common import json_files
from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.errors import InputError
from fasttok.safe_actions import ActionLimits, SafeActions
from train.acting.robots import Robot
from train.serving.keys import KeyMap, presets
from train.serving.metadata import ServedRobot
from train.serving.request_values import numbers

RNG = np.random.default_rng(0)


def robot(cameras: tuple[str, ...] = ("primary", "wrist"), state: int = 8) -> Robot:
    return Robot(
        dataset="d", embodiment="arm", control_hz=10, horizon=5, action_dim=1, action_encoding=("delta",),
        action_names=("x [m]",), state_dim=state, state_names=tuple(f"joint {i} [rad]" for i in range(state)),
        cameras=cameras, resize=None, encode=None, representation=None,
    )  # fmt: skip


def image(*shape: int) -> Any:
    return RNG.integers(256, size=shape or (24, 32, 3), dtype=np.uint8)


def droid() -> dict[str, Any]:
    """As openpi's src/openpi/policies/droid_policy.py, make_droid_example (commit 15a9616)."""
    return {
        "observation/exterior_image_1_left": image(),
        "observation/wrist_image_left": image(),
        "observation/joint_position": RNG.random(7),
        "observation/gripper_position": RNG.random(1),
        "prompt": "do something",
    }


def libero() -> dict[str, Any]:
    return {
        "observation/state": RNG.random(8), "observation/image": image(), "observation/wrist_image": image(),
        "prompt": "do something",
    }  # fmt: skip


def aloha() -> dict[str, Any]:
    cameras = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    return {"state": np.ones(14), "images": {name: image(3, 24, 32) for name in cameras}, "prompt": "do something"}


def written(tmp_path: Path, text: str) -> KeyMap:
    (tmp_path / "keys.yaml").write_text(text)
    return KeyMap.load(tmp_path / "keys.yaml")


def refused(keys: KeyMap, request: dict[str, Any], who: Robot) -> str:
    with pytest.raises(InputError) as error:
        keys.observation(request, who)
    return str(error.value)


def test_droid_as_openpi_sends_it() -> None:
    request = droid()
    seen, prompt = KeyMap.load("droid").observation(request, robot())
    assert prompt == "do something"
    assert list(seen) == ["image/primary", "image/wrist", "state"]
    np.testing.assert_array_equal(seen["image/primary"], request["observation/exterior_image_1_left"])
    np.testing.assert_array_equal(seen["image/wrist"], request["observation/wrist_image_left"])
    joints, gripper = request["observation/joint_position"], request["observation/gripper_position"]
    np.testing.assert_array_equal(seen["state"], np.concatenate([joints, gripper]).astype(np.float32))


def test_a_gripper_may_come_as_one_number_and_text_as_bytes() -> None:
    request = droid() | {"observation/gripper_position": np.float64(0.25), "prompt": b"do something"}
    seen, prompt = KeyMap.load("droid").observation(request, robot())
    assert (seen["state"][-1], prompt) == (0.25, "do something")


def test_a_closed_gripper_is_0_for_a_run_on_the_catalogue() -> None:
    request = droid() | {"observation/gripper_position": np.array([1.0])}
    seen, _ = KeyMap.load("droid_joint_velocity").observation(request, robot())
    assert seen["state"][-1] == 0
    assert (
        "1 is closed, 0 is open"
        in KeyMap.load("droid_joint_velocity").expected(robot())["observation/gripper_position"]
    )


def test_libero_as_openpi_sends_it() -> None:
    request = libero()
    seen, _ = KeyMap.load("libero").observation(request, robot())
    np.testing.assert_array_equal(seen["image/wrist"], request["observation/wrist_image"])
    np.testing.assert_array_equal(seen["state"], request["observation/state"].astype(np.float32))


def test_aloha_as_openpi_sends_it() -> None:
    request = aloha()
    seen, _ = KeyMap.load("aloha").observation(request, robot(CAMERA_SLOTS, 14))
    for name, slot in (
        ("high", "primary"),
        ("low", "secondary"),
        ("right_wrist", "wrist"),
        ("left_wrist", "wrist_secondary"),
    ):
        np.testing.assert_array_equal(seen[f"image/{slot}"], request["images"][f"cam_{name}"].transpose(1, 2, 0))


def test_openpis_aloha_clients_send_no_instruction() -> None:
    """Their environments return a state and images alone (examples/aloha_real/env.py, examples/aloha_sim/env.py)."""
    request, keys = aloha(), KeyMap.load("aloha")
    del request["prompt"]
    assert "prompt is missing" in refused(keys, request, robot(CAMERA_SLOTS, 14))
    assert keys.with_prompt("pick up the cube").observation(request, robot(CAMERA_SLOTS, 14))[1] == "pick up the cube"
    assert keys.with_prompt("") is keys


def test_a_gripper_that_may_be_the_wrong_way_round_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    turned = replace(robot(), state_names=(*(f"joint {i} (rad)" for i in range(7)), "gripper"))
    for name, warned in (("droid_joint_velocity", 0), ("droid", 1)):
        KeyMap.load(name).check(turned)
        assert len(caplog.records) == warned
    assert "key map droid takes observation/gripper_position as it is sent" in caplog.text
    KeyMap.load("libero").check(turned)
    KeyMap.load("droid").check(robot())  # whose columns say nothing of a gripper
    assert len(caplog.records) == 1


def test_the_simulated_aloha_sends_one_camera_of_four() -> None:
    request = aloha()
    request["images"] = {"cam_high": request["images"]["cam_high"]}
    seen, _ = KeyMap.load("aloha").observation(request, robot(CAMERA_SLOTS, 14))
    assert list(seen) == ["image/primary", "state"]


def test_our_own_keys() -> None:
    request = {"image/primary": image(), "state": [1, 2, 3], "prompt": "go", "image/wrist": None}
    seen, prompt = KeyMap.load("ours").observation(request, robot(state=3))
    assert (list(seen), prompt) == (["image/primary", "state"], "go")
    assert np.asarray(seen["state"]).dtype == np.float32


def test_cameras_and_a_state_that_the_run_lacks_are_not_looked_at() -> None:
    request = {"image/primary": image(), "image/wrist": "nonsense", "state": "nonsense", "prompt": "go"}
    seen, _ = KeyMap.load("ours").observation(request, robot(("primary",), 0))
    assert list(seen) == ["image/primary"]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_give_back_the_pixels_that_they_were_made_of(kind: Any) -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for given in (every / 255, (every / 255).transpose(2, 0, 1)):
        seen, _ = KeyMap.load("ours").observation({"image/primary": given.astype(kind), "prompt": ""}, robot(state=0))
        np.testing.assert_array_equal(seen["image/primary"], every)


def test_floats_are_cut_as_openpi_cuts_them() -> None:
    given = RNG.random((20, 30, 3)).astype(np.float32)
    seen, _ = KeyMap.load("ours").observation({"image/primary": given, "prompt": ""}, robot(state=0))
    np.testing.assert_array_equal(seen["image/primary"], (255 * given).astype(np.uint8))


def test_encoded_images_stay_bytes() -> None:
    seen, _ = KeyMap.load("ours").observation({"image/primary": b"\xff\xd8\xff", "prompt": ""}, robot(state=0))
    assert seen["image/primary"] == b"\xff\xd8\xff"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (image(24, 32, 1), "uint8 of shape (24, 32, 1)"),
        (image(24, 32, 4), "Leave out the alpha channel"),
        (image(1, 24, 32, 3), "without an axis for a batch"),
        (image(24, 3, 32), "shape (24, 3, 32)"),
        (np.zeros((0, 3, 3), np.uint8), "shape (0, 3, 3)"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.full((4, 4, 3), 2.0), "floats from 2 to 2; expected floats in [0, 1], or uint8"),
        (np.full((4, 4, 3), np.nan), "floats from nan to nan"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), "at most 64,000,000 pixels"),
        ([[1, 2, 3]], "a list of 1"),
        ("picture.png", "a str"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, says: str) -> None:
    said = refused(KeyMap.load("libero"), libero() | {"observation/image": given}, robot())
    assert said.startswith("observation/image ")
    assert says in said
    assert "observation/wrist_image: camera wrist" in said


def test_a_request_without_a_camera_lists_what_is_expected() -> None:
    said = refused(KeyMap.load("libero"), {"prompt": "go", "observation/state": np.zeros(8)}, robot())
    assert "none of the run's cameras; its keys are prompt, observation/state" in said
    assert "observation/image: camera primary: an RGB image (h, w, 3) or (3, h, w), uint8 or float in [0, 1]" in said
    assert "observation/state: 8 of the state, in raw units: joint 0 [rad]" in said


def test_an_image_under_another_name_is_not_taken_for_a_missing_camera() -> None:
    request = libero()
    request["observation/wrist_img"] = request.pop("observation/wrist_image")
    said = refused(KeyMap.load("libero"), request, robot())
    assert "no image under observation/wrist_image, but one under observation/wrist_img" in said
    request = aloha()
    request["images"]["cam_hihg"] = request["images"].pop("cam_high")
    assert "one under images/cam_hihg" in refused(KeyMap.load("aloha"), request, robot(state=14))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "observation/state is missing; expected 8 numbers"),
        (np.zeros(7), "float64 of shape (7,)"),
        (np.zeros((1, 8)), "shape (1, 8)"),
        (np.array(["a"] * 8), "expected 8 numbers"),
        (np.array([0.0] * 7 + [np.inf]), "expected 8 finite numbers"),
        ([1, [2], 3], "all in one list"),
        (np.array([1e300] * 8), "within the range of float32"),
        ("0 0 0", "a str"),
        ([1.0, None, 2.0], "a list with None in it"),
        ([1.0, "2"], "a list with a str in it; expected 8 numbers, all in one list"),
        ([2**70] * 8, "object of shape (8,)"),
    ],
)
def test_a_state_that_is_not_the_robots_is_refused(given: Any, says: str) -> None:
    said = refused(KeyMap.load("libero"), libero() | {"observation/state": given}, robot())
    assert says in said
    assert "joint 7 [rad]" in said


def test_a_list_of_texts_takes_no_memory() -> None:
    """An array of texts makes each as long as the longest: a frame of 300 kB would become 1.2 GB."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="a list with a str in it"):
            numbers(["x" * 300_000, *["a"] * 1000], "state", None)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_state_of_another_length_is_refused_with_its_parts(tmp_path: Path) -> None:
    keys = written(tmp_path, "cameras: {a: primary}\nstate: [{key: s}, {key: t}]\nprompt: p\n")
    said = refused(keys, {"a": image(), "s": [1, 2], "t": [3], "p": "go"}, robot())
    assert "the state has 3 numbers (s 2 + t 1), expected 8" in said


@pytest.mark.parametrize("prompt", [None, 3, np.zeros(3), "x" * 20_000, b"caf\xe9"])
def test_an_instruction_is_a_text(prompt: Any) -> None:
    assert "prompt" in refused(KeyMap.load("libero"), libero() | {"prompt": prompt}, robot()).splitlines()[0]


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    keys = written(
        tmp_path,
        "description: mine\ncameras: {cam/front: primary}\n"
        "state:\n  - {key: pose, length: 3, columns: [2, 0]}\n  - {key: hand, gripper: {closed: 0.0, open: 0.08}}\n"
        "prompt: task\ndefault_prompt: pick it up\n",
    )
    who = robot(("primary",), 3)
    keys.check(who)
    seen, prompt = keys.observation({"cam": {"front": image()}, "pose": [1, 2, 3], "hand": 0.02}, who)
    np.testing.assert_array_equal(seen["state"], np.array([3, 1, 0.25], np.float32))
    assert prompt == "pick it up"
    assert keys.expected(who)["task"] == "the instruction, a text; without it: 'pick it up'"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("camera: {a: primary}\nprompt: p", "line 1: unknown key map key 'camera'; did you mean 'cameras'?"),
        ("cameras: {a: front}\nprompt: p", "unknown a 'front'"),
        ("cameras: {a: primary, b: primary}\nprompt: p", "two keys are for the camera slot primary"),
        ("cameras: [a]\nprompt: p", "expected a mapping such as {cam/front: primary}"),
        ("cameras: {a: primary}", "prompt is missing"),
        ("cameras: {a: primary}\nprompt: a", "'a' is used for two things"),
        ("cameras: {fasttok/x: primary}\nprompt: p", "are the server's own"),
        ("state: [{key: s, length: 0}]\nprompt: p", "length must be an integer >= 1"),
        ("state: [{key: s, size: 3}]\nprompt: p", "unknown state part key 'size'"),
        ("state: [{length: 3}]\nprompt: p", "key is missing"),
        ("state: [{key: s, columns: [0, 0]}]\nprompt: p", "different whole numbers"),
        ("state: [{key: s, length: 2, columns: [2]}]\nprompt: p", "from 0 to 1"),
        ("state: [{key: s, gripper: {closed: 1}}]\nprompt: p", "open is missing"),
        ("state: [{key: s, gripper: {closed: 1, open: 1}}]\nprompt: p", "are both 1"),
        ("state: 3\nprompt: p", "state must be a list of parts"),
        ("prompt: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("prompt: p\nprompt: q", "given twice"),
        ("state: &a [*a]\nprompt: p", "not valid YAML"),
        ("x: &a [1,1,1,1,1,1,1,1,1]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nz: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "w: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nstate: [*d,*d,*d,*d,*d,*d]\nprompt: p", "at most 10,000 values"),
        ("- a", "expected `key: value` lines"),
    ],
)  # fmt: skip
def test_what_is_no_key_map_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"keys\.yaml") as error:
        written(tmp_path, text)
    assert says in str(error.value)


def test_an_unknown_preset_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'droid'"):
        KeyMap.load("driod")
    (tmp_path / "big.yaml").write_text("#" * 2_000_000)
    with pytest.raises(InputError, match="at most 1,048,576 bytes"):
        KeyMap.load(tmp_path / "big.yaml")


def test_every_preset_is_read() -> None:
    assert set(presets()) == {"droid", "droid_joint_velocity", "libero", "aloha", "ours"}
    for name in presets():
        assert KeyMap.load(name).name == name


def test_a_map_that_cannot_serve_a_robot_is_refused_before_anybody_asks() -> None:
    KeyMap.load("droid").check(robot())
    KeyMap.load("droid").check(robot(state=0))
    KeyMap.load("ours").check(robot(state=3))
    with pytest.raises(
        InputError, match=r"observation/joint_position \(7\) \+ observation/gripper_position \(1\), 8 numbers"
    ):
        KeyMap.load("droid").check(robot(state=7))
    with pytest.raises(InputError, match="has keys for the cameras primary, wrist, but arm was trained with secondary"):
        KeyMap.load("libero").check(robot(("secondary",)))
    with pytest.raises(InputError, match="is none, 0 numbers"):
        replace(KeyMap.load("ours"), state=()).check(robot())


def test_metadata_name_the_columns_that_a_robot_takes() -> None:
    """Of a run of relative actions, too: a client must know which columns are grippers."""
    pieces = (ActionColumns(0, 2, "absolute", state=(0, 1)), ActionColumns(2, 1, "gripper"))
    form = Representation(form="relative", pieces=pieces)
    stats = NormStats.fit(np.random.default_rng(0).normal(size=(50, 3)))
    tok: Any = SimpleNamespace(stats={"arm": stats}, state_stats={})
    arm = replace(
        robot(), action_dim=3, action_names=("x", "y", "gripper"), action_encoding=form.encoding, representation=form
    )
    said = ServedRobot.of(arm, tok, 224)
    assert said.action_encoding == ("absolute", "absolute", "gripper")
    assert said.action_names == ("action 0", "action 1", "action 2")
    assert said.action_low is None


def test_a_range_that_nobody_knows_limits_no_action() -> None:
    """openpi's statistics of pi0 may have a mean and a deviation alone; a range from mean to mean would hold the arm there."""
    theirs = NormStats.from_json({"mean": [0.5, 0.25], "std": [1.0, 0.0]})
    tok: Any = SimpleNamespace(stats={"arm": theirs}, state_stats={"arm": theirs})
    said = ServedRobot.of(replace(robot(), action_dim=2, action_encoding=("absolute",) * 2), tok, 224)
    assert (said.action_low, said.state_high) == ((None, 0.25), (None, 0.25))
    limits = ActionLimits.of(json_files.encode(said))
    assert np.array_equal(SafeActions(limits, start=None)([7.0, 7.0]), [7.0, 0.25])
