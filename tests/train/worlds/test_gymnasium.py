"""Environments of the real gymnasium package, as the evaluation steps them."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from train.rollouts import closed_loop, load_factory, open_envs
from train.worlds.gymnasium import GymnasiumEnv, GymnasiumWorld, WorldGripper
from train.worlds.world_file import check_splits

gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium; run: pip install 'fasttok-vla[gymnasium]'")

HERE = "tests.train.worlds.worlds_of_tests"
REACH = f"{HERE}:Reach-v0"
PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def world(**settings: Any) -> GymnasiumWorld:
    given = {"id": REACH, "images": {"primary": "camera"}, "state": ("robot/x", "flat"), "instruction": "go right"}
    return GymnasiumWorld(**(given | settings))


def env_of(**settings: Any) -> GymnasiumEnv:
    return world(**settings)("arm", "seen")


def go(right: float) -> Callable[..., np.ndarray]:
    """A policy whose chunks of four actions go right."""
    return lambda tasks, seen, *_: np.tile(np.array([right, 0.0]), (len(tasks), 4, 1))


def test_episodes_are_played_to_their_end() -> None:
    """1 m in steps of 0.2 m: five or six; at 0.05 m no episode gets there within its twelve steps."""
    done, films = closed_loop(go(2.0), world(), "arm", "seen", range(4), execute=2, batch=3, films=1)
    assert done.success == [True] * 4
    assert done.task == [REACH] * 4
    assert done.result("arm", "seen").success == 1.0
    assert films[0].instruction == "go right"
    assert films[0].frames.shape[1:] == (6, 8, 3)
    assert films[0].steps[-1] in (5, 6)
    assert closed_loop(go(0.5), world(), "arm", "seen", range(4), execute=2)[0].success == [False] * 4


def test_an_episode_is_its_seed() -> None:
    env = env_of()
    first, other, again = (env.reset(seed)["state"].copy() for seed in (7, 8, 7))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32


@pytest.mark.parametrize("most", [3, 10])
def test_max_steps_replaces_the_registered_number_which_is_four(most: int) -> None:
    env = env_of(id=f"{HERE}:Short-v0", max_steps=most)
    seen = [env.reset(0), *(env.step(np.array([0.01, 0.0])) for _ in range(most))]
    assert all(np.any(a["state"] != b["state"]) for a, b in pairwise(seen))  # it acts until the last step
    assert env_of(id=f"{HERE}:Short-v0", max_steps=most, options={"max_episode_steps": 2}).max_steps == most


@pytest.mark.parametrize("image", ["hwc", "chw", "rgba", "float", "batch"])
def test_images_of_all_forms_are_the_same_picture(image: str) -> None:
    seen = env_of(options={"image": image}).reset(0)["image/primary"]
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, PIXELS)


def test_gray_and_turned_and_rendered_images() -> None:
    assert np.array_equal(env_of(options={"image": "gray"}).reset(0)["image/primary"], PIXELS[..., :1].repeat(3, 2))
    assert np.array_equal(env_of(upside_down=("primary",)).reset(0)["image/primary"], PIXELS[::-1, ::-1])
    rendered = env_of(images={"wrist": "render()"}).reset(0)
    assert set(rendered) == {"image/wrist", "state"}
    assert (rendered["image/wrist"] == 77).all()


def test_an_image_that_is_none_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"image of primary, camera, is float32 of shape \(6, 8, 3\), 0.0 to 143.0; exp"
    ):
        env_of(options={"image": "wrong"}).reset(0)


def test_the_state_is_its_parts_in_order() -> None:
    env = env_of(state=("robot/v", "flat", "robot/x"))
    state = env.reset(3)["state"]
    assert state.shape == (5,)
    assert state[:2].tolist() == [0, 0]
    assert state[3] == 1
    assert state[2] == state[4] != 0
    whole = env_of(id=f"{HERE}:Turn-v0", images={}, state=(".",), max_steps=3)
    assert whole.reset(0).keys() == {"state"}
    assert whole.max_steps == 3


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("info:language/text", "reach 1.0"),
        ("observation:robot/name", "arm"),
        ("attribute:prompt", "go right"),
        ("attribute:text", "go on"),
        ("info:language/a text", "reach it"),
        ("info: put it there", "info: put it there"),
    ],
)
def test_the_instruction_comes_from_where_it_stands(where: str, text: str) -> None:
    envs = open_envs(world(instruction=where), "arm", "seen", 2)
    envs.reset([0, 1])
    assert list(envs.instructions) == [text, text]


def test_an_instruction_of_a_wrapper_is_found() -> None:
    env = env_of(id=f"{HERE}:Told-v0", instruction="attribute:said")
    env.reset(0)
    assert env.instruction == "go far"


def test_splits_and_kinds_of_tasks() -> None:
    make = world(variants={"near": {"goal": 0.3}, "far": {"goal": 9}}, task="info:language/text")
    assert make.splits == ("near", "far")
    near, far = (closed_loop(go(2.0), make, "arm", s, range(2), execute=4)[0] for s in make.splits)
    assert (near.success, far.success) == ([True, True], [False, False])
    check_splits(make, ["far", "near"], "my_world:make")
    with pytest.raises(InputError, match=r"--env my_world:make: unknown split 'seen';.* Pass --splits near, or others"):
        check_splits(make, ["seen"], "my_world:make")


def test_success_as_each_environment_tells_it() -> None:
    for tells, success in (("is_success", ""), ("solved", "solved"), ("terminated", "terminated")):
        make = world(options={"tells": tells}, success=success)
        assert closed_loop(go(2.0), make, "arm", "seen", range(2), execute=4)[0].success == [True, True]
        assert closed_loop(go(0.1), make, "arm", "seen", range(2), execute=4)[0].success == [False, False]


def test_an_environment_that_tells_no_success_is_refused_when_its_first_episode_ends() -> None:
    env = env_of(options={"tells": ""})
    env.reset(0)
    for _ in range(11):
        env.step(np.zeros(2))
    with pytest.raises(
        InputError, match=r"its info has nothing; expected success or is_success. Name the key as `success`"
    ):
        env.step(np.zeros(2))


def test_an_episode_that_is_over_stays_as_it_is() -> None:
    env = env_of(max_steps=50)
    env.reset(0)
    seen = [env.step(np.ones(2))["state"] for _ in range(20)]
    assert len(env.env.unwrapped.taken) == 12  # gymnasium's own limit truncates it
    assert np.array_equal(seen[11], seen[19])


def test_actions_are_clipped_or_scaled_to_the_bounds() -> None:
    for kind, given, taken in (("clip", 9.0, 2.0), ("clip", 0.5, 0.5), ("scale", 0.5, 1.0), ("scale", -7.0, -2.0)):
        env = env_of(actions=kind)
        env.reset(0)
        env.step(np.array([given, 0.0], np.float32))
        assert env.env.unwrapped.taken[0].tolist() == [taken, 0.0]
        assert env.env.unwrapped.taken[0].dtype == np.float32


@pytest.mark.parametrize("kind", ["clip", "scale"])
@pytest.mark.parametrize("column", [1, -1])
def test_an_opening_becomes_what_the_environment_takes(kind: Any, column: int) -> None:
    """A run on our shards says 1 for open; MetaWorld and robosuite close at 1 and open at -1."""
    for opening, taken in ((1.0, -1.0), (0.0, 1.0), (0.25, 0.5), (1.7, -1.0)):
        env = env_of(actions=kind, grippers={column: WorldGripper(closed=1, open=-1)})
        env.reset(0)
        env.step(np.array([0.5, opening], np.float32))
        assert env.env.unwrapped.taken[0].tolist() == [0.5 if kind == "clip" else 1.0, taken]


@pytest.mark.parametrize("action", [[1.0], [1.0, 2.0, 3.0], [np.nan, 0.0], [np.inf, 0.0]])
def test_other_actions_are_refused(action: list[float]) -> None:
    env = env_of()
    env.reset(0)
    with pytest.raises(InputError, match="expected 2 finite numbers for Box"):
        env.step(np.array(action))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "Nowhere-v0"}, "gymnasium cannot make 'Nowhere-v0'"),
        ({"id": "no_such_module:Nowhere-v0"}, "gymnasium cannot make 'no_such_module:Nowhere-v0'"),
        ({"options": {"colour": "red"}}, "cannot make .*unexpected keyword"),
        ({"id": f"{HERE}:Choice-v0", "max_steps": 5}, "takes actions of Discrete.*expected a Box"),
        ({"id": f"{HERE}:Turn-v0"}, "no limit of steps; say max_steps"),
        ({"actions": "scale", "options": {"bound": float("inf")}}, "`actions: scale` needs bounds"),
        ({"grippers": {2: WorldGripper(1, -1)}}, "grippers names column 2 of 2; expected 0 to 1, or -1"),
    ],
)
def test_environments_that_cannot_be_used(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        env_of(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"images": {"primary": "pixels"}},
            "unknown key of .*the observation 'pixels'.* Known: camera, flat, robot",
        ),
        ({"state": ("robot/q",)}, "unknown key of .*the observation 'q'.* Known: name, v, x"),
        ({"state": ("flat/q",)}, "has no flat/q: it is no mapping"),
        ({"state": ("robot/name",)}, "expected numbers"),
        ({"instruction": "info:task"}, "unknown key of .*info 'task'.* Known: language"),
        ({"instruction": "info:language/words"}, r"instruction at info:language/words is \['reach'\]; expected a text"),
        ({"instruction": "observation:robot"}, "instruction at observation:robot is .*; expected a text"),
        ({"instruction": "attribute:goals"}, "has no attribute goals"),
    ],
)
def test_what_is_not_there_is_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        env_of(**settings).reset(0)


def test_settings_that_say_nothing_are_refused() -> None:
    for settings, message in (
        ({"upside_down": ("wrist",)}, "unknown camera in upside_down of .*'wrist'.* Known: primary.*Give it an image"),
        ({"images": {"left": "camera"}}, "unknown camera slot in images .*'left'.* Known: primary"),
        ({"images": {}, "state": ()}, "no images and no state"),
        ({"instruction": " "}, "the instruction is empty"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"grippers": {1: WorldGripper(1, 1)}}, "column 1 closes at 1 and opens at 1; expected two different"),
    ):
        with pytest.raises(InputError, match=message):
            world(**settings)


def test_environments_are_closed_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[GymnasiumEnv] = []

    def factory(embodiment: str, split: str) -> GymnasiumEnv:
        made.append(world()(embodiment, split))
        return made[-1]

    closed_loop(go(2.0), factory, "arm", "seen", range(3), execute=4, batch=2)
    assert [env.env.unwrapped.closed for env in made] == [True, True, True]

    def fail(*_: Any) -> np.ndarray:
        raise InputError("the policy is gone")

    with pytest.raises(InputError, match="gone"):
        closed_loop(fail, factory, "arm", "seen", range(1), execute=4)
    assert made[-1].env.unwrapped.closed


def test_a_yaml_file_is_a_factory(tmp_path: Path) -> None:
    file = tmp_path / "reach.yaml"
    file.write_text(
        f"world: gymnasium\nid: {REACH}\nimages: {{primary: camera}}\nstate: [robot/x]\ninstruction: 'info:language/text'\n"
        "variants: {near: {goal: 0.3}}\ngrippers: {-1: {closed: 1, open: -1}}\n"
    )
    factory = load_factory(str(file))
    assert factory == GymnasiumWorld(
        id=REACH, images={"primary": "camera"}, state=("robot/x",), instruction="info:language/text",
        variants={"near": {"goal": 0.3}}, grippers={-1: WorldGripper(1, -1)},
    )  # fmt: skip
    assert closed_loop(go(2.0), factory, "arm", "near", range(2), execute=4)[0].success == [True, True]
    check_splits(factory, ["near"], str(file))
