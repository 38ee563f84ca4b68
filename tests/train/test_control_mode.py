"""The control mode of a robot in its prompt: from what the shards say of its actions, only where it is asked for."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fasttok import ActionTokenizer
from fasttok.actions.representation import ActionColumns, Representation
from mixtures.spec import Resize
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.pipelines.reshard import reshard
from tests.train.tiny_runs import config
from train.acting.robots import Robot, Robots
from train.config import DataConfig, ModelConfig
from train.examples import Encoder
from train.judging.held_out_rows import fitting_encoder
from train.texts.control_mode import control_mode, control_modes
from train.texts.row_lengths import longest
from train.tokens import TextTokenizer, robot_prompt

KINDS = ("robot", "vqa", "caption")


def robot(names: tuple[str, ...], encoding: tuple[str, ...], form: Representation | None = None) -> Robot:
    return Robot(
        dataset="d", embodiment="e", control_hz=10, horizon=10, action_dim=len(names), action_encoding=encoding,
        action_names=names, state_dim=0, state_names=(), cameras=(), resize=None, encode=None, representation=form,
    )  # fmt: skip


JOINTS = tuple(f"joint {i} (rad)" for i in range(7))
TWIST = ("vx (m/s)", "vy (m/s)", "vz (m/s)", "wx (rad/s)", "wy (rad/s)", "wz (rad/s)")
POSE = ("x (m)", "y (m)", "z (m)", "roll (rad)", "pitch (rad)", "yaw (rad)")
SIX = ("x (m)", "y (m)", "z (m)", "r11", "r21", "r31", "r12", "r22", "r32")


@pytest.mark.parametrize(
    ("names", "encoding", "mode"),
    [
        ((*JOINTS, "gripper"), ("absolute",) * 7 + ("gripper",), "joint position"),
        (JOINTS, ("delta",) * 7, "joint delta"),
        (JOINTS, ("relative",) * 7, "joint relative position"),
        (tuple(name.replace("rad", "rad/s") for name in JOINTS), ("delta",) * 7, "joint velocity"),
        ((*POSE, "gripper"), ("absolute",) * 6 + ("gripper",), "end effector position"),
        (("dx (m)", "dy (m)", "gripper"), ("delta", "delta", "gripper"), "end effector delta"),
        (TWIST, ("delta",) * 6, "end effector velocity"),
        (SIX, ("relative",) * 9, "end effector relative position"),
        (("left x (m)", "left qw", "right x (m)", "right_qw"), ("absolute",) * 4, "end effector position"),
        (("shoulder_pan.pos", "elbow_flex.pos", "gripper.pos"), ("absolute",) * 3, "joint position"),
        ((*JOINTS, "base x (m/s)"), ("absolute",) * 7 + ("delta",), "joint position and base velocity"),
        (("action 0", "action 1"), ("absolute",) * 2, ""),
        ((*POSE, "something"), ("absolute",) * 7, ""),
        (("gripper",), ("gripper",), ""),
    ],
)
def test_modes_have_usual_names(names: tuple[str, ...], encoding: tuple[str, ...], mode: str) -> None:
    assert control_mode(robot(names, encoding)) == mode


def test_a_velocity_that_is_summed_up_is_none() -> None:
    pieces = tuple(ActionColumns(i, 1, "delta", rate=True) for i in range(6))
    moved = Representation(form="relative", step=0.1, pieces=pieces)
    assert control_mode(robot(TWIST, moved.encoding, moved)) == "end effector relative position"


def test_prompts_are_as_before_without_it() -> None:
    assert robot_prompt("a", "1 2", "b") == "Task: a, Subtask: b, State: 1 2;\nAction: "
    assert robot_prompt("a", "1 2", "b", control="joint delta") == (
        "Task: a, Subtask: b, Control: joint delta, State: 1 2;\nAction: "
    )
    assert robot_prompt("a", None, control="joint delta") == "Task: a, Control: joint delta;\nAction: "
    assert robot_prompt("a", "1", ask="Subtask", control="joint delta") == robot_prompt("a", "1", ask="Subtask")


def encoders(reader: ShardReader, form: Any) -> list[Encoder]:
    text = TextTokenizer.train([row["prompt"] for row in map(reader.row, range(100))], 600)
    robots, tok = Robots.of(reader.manifest, KINDS), ActionTokenizer.load(reader.tokenizer_folder)
    datas = DataConfig(), DataConfig(control_mode=True)
    return [Encoder(robots, text, ModelConfig(state=form), data, tok) for data in datas]


@pytest.mark.parametrize("form", ["text", "special", "continuous"])
def test_rows_that_act_say_it_and_others_do_not(chain: Chain, tmp_path: Path, form: Any) -> None:
    def subtasks(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["target"] = row["target"] or "grasp it"

    reader = ShardReader(str(reshard(chain.shards, tmp_path / "shards", subtasks)))
    plain, told = encoders(reader, form)
    words = {"arm": "Control: end effector position", "planar": "Control: end effector delta"}
    seen = set()
    for row in map(reader.row, range(120)):
        one, two = plain.row(row), told.row(row)
        if not two.is_action:
            assert one.prefix == two.prefix
            continue
        embodiment = told.robots.robots[row["source"]].embodiment
        seen.add(embodiment)
        assert f", {words[embodiment]}" in told.text.decode(two.prefix)
        assert "Control" not in told.text.decode(one.prefix)
        assert one.suffix == two.suffix
        assert told.text.decode(two.prefix).replace(f", {words[embodiment]}", "") == told.text.decode(one.prefix)
        assert told.acting(row).prefix == two.prefix
    assert seen == {"arm", "planar"}
    long, short = (longest(reader, encoder, KINDS) for encoder in (told, plain))
    assert long is not None
    assert short is not None
    assert long.tokens > short.tokens


def test_held_out_rows_have_the_prompts_of_the_run(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    """The entry of the held-out shards has other names for the columns, or none; the run has learned its own."""
    reader = ShardReader(str(chain.shards))
    _, ours = encoders(reader, "text")
    renamed = {
        name: replace(source, action_names=tuple(f"a {i}" for i in range(source.action_dim)))
        for name, source in reader.manifest.sources.items()
    }
    model = ModelConfig(horizon=ours.horizon, action_dim=ours.action_dim)
    theirs = fitting_encoder(replace(reader.manifest, sources=renamed), ours, model, chain.shards)
    assert not caplog.text.count("warning: ")
    row = next(row for row in map(reader.row, range(120)) if row["kind"] == "robot")
    assert theirs.acting(row).prefix == ours.acting(row).prefix


def test_held_out_rows_that_look_different_are_named(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    reader = ShardReader(str(chain.shards))
    ours = encoders(reader, "text")[0]
    model = ModelConfig(horizon=ours.horizon, action_dim=ours.action_dim)
    name, source = next((name, s) for name, s in reader.manifest.sources.items() if s.robot)
    for change, says in (
        (
            {"prompts": ("do {prompt}",)},
            f"prompts of {source.embodiment} in source {name} of .*: do {{prompt}}; the run's: none",
        ),
        ({"resize": Resize(20, 30)}, "size of images of .*: 30 x 20 .*; the run's: none"),
        ({"subtask": True}, "subtasks of .*: True; the run's: False"),
    ):
        caplog.clear()
        changed = {**reader.manifest.sources, name: replace(source, **change)}
        fitting_encoder(replace(reader.manifest, sources=changed), ours, model, chain.shards)
        assert re.search(says, caplog.text), caplog.text


def test_robots_whose_columns_say_nothing_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "train.texts.control_mode"):
        assert control_modes([robot(("action 0",), ("absolute",)), robot(JOINTS, ("delta",) * 7)]) == {"e": ""}
    assert "says nothing of e" in caplog.text
    assert "action 0" in caplog.text


def test_config_json_says_it_only_where_it_is_on(chain: Chain, tmp_path: Path) -> None:
    off = config(chain, tmp_path)
    on = replace(off, data=replace(off.data, control_mode=True))
    assert "control_mode" not in json.dumps(off.to_json())
    assert on.to_json()["data"]["control_mode"] is True
