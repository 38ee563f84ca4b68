"""`fasttok-export --layout lerobot` in lerobot's own hands: its configuration, its processors, its policy."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from fasttok.actions.representation import ActionColumns, Representation
from tests.interop.environments import PackageSet, run_inside
from tests.train.handmade_run import ARM, PLANAR, TASKS, GivenNoise, handmade, numbers, with_params
from train.config import DataConfig, ModelConfig
from train.export import ExportConfig, export
from train.exports import lerobot
from train.exports.lerobot_config import LerobotConfig
from train.exports.source import ExportSource
from train.exports.tensor_file import DTYPES, header, metadata
from train.exports.tensors import THEIR_SIZES, THEIR_VOCAB, tensors
from train.player import Player
from train.runs.run_folder import SavedRun

pytestmark = pytest.mark.slow
Record = Callable[[str, object], None]
RNG = np.random.default_rng(3)


def source(run: SavedRun, folder: Path, asked: str = "") -> ExportSource:
    return ExportSource("RUN", run.config, run.text, run.tok, run.robots, asked, folder=str(folder))


def write_processors(run: SavedRun, folder: Path, asked: str = "") -> ExportSource:
    """All of an export but the weights."""
    made = source(run, folder, asked)
    for name, content in lerobot.files(made).files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return made


def prompts(
    environment: PackageSet, folder: Path, states: np.ndarray, tasks: list[str], actions: np.ndarray, *more: str
) -> tuple[list[list[int]], np.ndarray]:
    """Tokens of lerobot's prompts, and its raw actions."""
    out = folder.parent / "prompts"
    out.mkdir(exist_ok=True)
    np.savez(out / "cases.npz", states=states, tasks=np.array(tasks), actions=actions)
    run_inside(environment, "prompts_from_export.py", folder, out / "cases.npz", out / "found.npz", *more)
    found = np.load(out / "found.npz")
    return [row.tolist() for row in np.split(found["tokens"], np.cumsum(found["lengths"])[:-1])], found["raw"]


def test_lerobot_acts_as_we_do(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks and single actions in raw units, with the same noise: both cameras, each one missing, a state beyond its range."""
    environment = built("lerobot")
    run = handmade()
    with_params(run, tmp_path / "run", monkeypatch)
    export(ExportConfig(tmp_path / "run", tmp_path / "out", "lerobot"))
    player = Player.load(tmp_path / "run")
    cases: dict[str, Any] = {}
    rows = []
    for i, cameras in enumerate((("primary", "wrist"), ("primary",), ("wrist",), ("primary", "wrist"))):
        state = numbers(ARM, 5)[i].astype(np.float32) * (1 if i < 3 else 4)
        images = {f"image/{slot}": RNG.integers(0, 256, (64, 64, 3), np.uint8) for slot in cameras}
        rows.append(player.row("arm", TASKS[i], {"state": state, **images}))
        cases |= {f"state{i}": state, f"task{i}": np.array(TASKS[i])}
        cases |= {f"image{i}/{slot}": pixels for slot, pixels in rows[-1].images.items()}
        cases[f"noise{i}"] = RNG.standard_normal((6, 5), np.float32)
    np.savez(tmp_path / "cases.npz", **cases)
    run_inside(environment, "act_from_export.py", tmp_path / "out", tmp_path / "cases.npz", tmp_path / "found.npz")
    found, worst = np.load(tmp_path / "found.npz"), 0.0
    scale = player.encoder.tok.stats["arm"].bounds
    half = np.maximum((scale[1] - scale[0]) / 2, 1e-3)
    for i, row in enumerate(rows):
        prefix, _ = player.encoder.robot_prefix("arm", row.task, row.state)
        assert found[f"tokens{i}"].tolist() == prefix
        for noise, theirs in ((cases[f"noise{i}"], found[f"chunk{i}"]), (found[f"drawn{i}"], found[f"actions{i}"])):
            with jax.default_matmul_precision("highest"):
                [ours] = player.act_rows([row], rngs=cast(Any, [GivenNoise(noise)]))
            assert ours.shape == theirs.shape == (6, 5)
            assert np.ptp(ours[:, :3] / half[:3]) > 0.1  # the flow does something
            worst = max(worst, float((np.abs(ours - theirs) / half).max()))
    assert worst < 1e-4
    record_property(
        "checked", f"4 observations: 4 chunks and 24 actions of lerobot's policy within {worst:.0e} of ours, float32"
    )


def test_a_full_size_export_has_lerobots_names_and_shapes(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record
) -> None:
    """From the header that the export writes, before a file of holes; lerobot's model is on torch's meta device."""
    environment = built("lerobot")
    run, folder = handmade(sizes=THEIR_SIZES), tmp_path / "out"
    made = write_processors(run, folder)
    config = dataclasses.replace(run.config.model, vocab_size=THEIR_VOCAB)
    listed, _ = tensors({}, config, "lerobot")
    begin = header(listed, "float32", metadata("lerobot", {}))
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(begin)
        stream.truncate(len(begin) + sum(int(np.prod(t.shape)) for t in listed) * DTYPES["float32"][1].itemsize)
    assert not [said for said in lerobot.files(made).limits if "other sizes" in said]
    run_inside(environment, "export_shapes.py", folder, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["tensors"] == len(listed) + 1  # the embedding, which is its head
    assert found["keys"] == sorted(field.name for field in dataclasses.fields(LerobotConfig))
    record_property(
        "checked",
        f"{len(listed)} tensors, {found['parameters']:,} parameters: names and shapes of lerobot's full-size model",
    )


def test_prompts_and_actions_of_many_states(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record
) -> None:
    """States within and beyond their range, one that never moved; actions back to raw units. From another folder than DIR."""
    environment = built("lerobot")
    made = write_processors(handmade(), tmp_path / "out")
    states = (numbers(ARM, 5, 500) * RNG.choice([1.0, 3.0], (500, 1))).astype(np.float32)
    tasks = [TASKS[i % 4] for i in range(500)]
    actions = RNG.normal(size=(200, 5)).astype(np.float32)
    rows, raw = prompts(environment, tmp_path / "out", states, tasks, actions)
    same = sum(
        row == made.encoder.robot_prefix("arm", task, state)[0]
        for row, task, state in zip(rows, tasks, states, strict=True)
    )
    assert same >= 498  # float32 may move a state that lies on the edge of a bin
    ours = made.tok.stats["arm"].unnormalize(actions)
    assert np.abs(raw - ours).max() < 1e-5 * np.abs(ours).max()
    shutil.move(tmp_path / "out", tmp_path / "moved")
    moved, _ = prompts(
        environment, tmp_path / "moved", states[:2], tasks[:2], actions[:1], str(tmp_path / "moved" / "text_tokenizer")
    )
    assert moved == rows[:2]
    record_property("checked", f"{same} of 500 prompts token-equal, 200 actions equal in raw units")


def test_the_tokenizer_rewrites_what_lerobot_cannot_say(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record
) -> None:
    """A control mode in the prompt; a policy without a state; tasks that look like a part of the prompt."""
    environment = built("lerobot")
    tasks = [*TASKS, "say , State: 1 2;", "a, State: 3;\nAction: ", ", Control: none"]
    states = numbers(ARM, 5, len(tasks)).astype(np.float32)
    for name, stateless, control in (("control", (), True), ("stateless", ("arm",), False), ("both", ("arm",), True)):
        run = handmade(stateless=stateless, data=DataConfig(text_length=96, control_mode=control))
        made = write_processors(run, tmp_path / name / "out")
        rows, _ = prompts(environment, tmp_path / name / "out", states, tasks, np.zeros((1, 5), np.float32))
        expected = [made.encoder.robot_prefix("arm", task, state)[0] for task, state in zip(tasks, states, strict=True)]
        assert rows == expected, name
        assert control == ("Control: end effector position" in run.text.decode(rows[0]))
    record_property("checked", f"{len(tasks)} tasks with a control mode, without a state, or both: prompts token-equal")


def test_relative_actions_come_back(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record
) -> None:
    """lerobot adds the state to the columns that are relative, and only to them."""
    environment = built("lerobot")
    pieces = (ActionColumns(0, 4, "absolute", state=(0, 1, 2, 3)), ActionColumns(4, 1, "gripper"))
    form = Representation(form="relative", pieces=pieces)
    arm = dataclasses.replace(ARM, representation=form, action_encoding=form.encoding)
    made = write_processors(handmade((arm,)), tmp_path / "out")
    assert any("newest state" in said for said in lerobot.files(made).limits)
    state = numbers(ARM, 5, 1).astype(np.float32)
    actions = RNG.normal(size=(1, 5)).astype(np.float32)
    _, raw = prompts(environment, tmp_path / "out", state, ["x"], actions)
    ours = form.restore(made.tok.stats["arm"].unnormalize(actions)[None], form.state(state, np.zeros((1, 5))))[0]
    np.testing.assert_allclose(raw, ours, rtol=1e-5, atol=1e-5)
    record_property("checked", "actions relative to the state come back in raw units within 1e-5 of ours")


def test_one_of_several_robots(
    built: Callable[[str], PackageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    """Fewer cameras, columns and steps than the model: lerobot computes what our model does without noise beyond the robot's."""
    environment = built("lerobot")
    run = handmade((PLANAR, ARM))
    params = with_params(run, tmp_path / "run", monkeypatch)
    export(ExportConfig(tmp_path / "run", tmp_path / "out", "lerobot", embodiment="planar"))
    player = Player.load(tmp_path / "run")
    state = numbers(PLANAR, 3)[0].astype(np.float32)
    row = player.row("planar", "x", {"state": state, "image/primary": RNG.integers(0, 256, (64, 64, 3), np.uint8)})
    noise = RNG.standard_normal((4, 5), np.float32)
    case: dict[str, Any] = {"state0": state, "task0": np.array("x"), "noise0": noise}
    case["image0/primary"] = row.images["primary"]
    np.savez(tmp_path / "case.npz", **case)
    run_inside(environment, "act_from_export.py", tmp_path / "out", tmp_path / "case.npz", tmp_path / "found.npz")
    found = np.load(tmp_path / "found.npz")
    short: ModelConfig = dataclasses.replace(run.config.model, horizon=4)
    alone = dataclasses.replace(
        player, config=short, batcher=dataclasses.replace(player.batcher, model=short), params=params
    )
    own = noise * np.array([1, 1, 1, 0, 0], np.float32)
    with jax.default_matmul_precision("highest"):
        [ours] = alone.act_rows([row], rngs=cast(Any, [GivenNoise(own)]))
    assert found["chunk0"].shape == (4, 3)
    np.testing.assert_allclose(found["chunk0"], ours, atol=1e-4)
    record_property(
        "checked", "a robot with fewer cameras, columns and steps than its run: its chunk within 1e-4 of ours"
    )
