"""What `fasttok-export` refuses, what it says that a layout cannot hold, and what its files say; without the other projects."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, load_file

from fasttok import NormStats
from fasttok.actions.representation import ActionColumns, Representation
from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.errors import InputError
from tests.train.handmade_run import ARM, PLANAR, handmade, numbers, with_params
from train import export
from train.config import DataConfig
from train.export import ExportConfig
from train.exports import command as exports_command
from train.exports import lerobot, openpi
from train.exports.lerobot_stats import action_quantiles, rounded_actions, rounded_states, state_quantiles, stats_file
from train.exports.relative_actions import relative_dims
from train.exports.source import ExportSource
from train.exports.tensors import THEIR_SIZES
from train.runs.run_folder import SavedRun
from train.tokens import bins
from train.weights.matching import plan


def source(run: SavedRun, asked: str = "") -> ExportSource:
    return ExportSource("RUN", run.config, run.text, run.tok, run.robots, asked, folder="/out")


def said(run: SavedRun, asked: str = "") -> str:
    return "\n".join(lerobot.files(source(run, asked)).limits)


def test_an_export_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """config.json has no key of ours; what only we say lies in fasttok.json; --overwrite leaves nothing of the last layout."""
    run, out = handmade(), tmp_path / "out"
    with_params(run, tmp_path / "run", monkeypatch)
    arguments = ["--run", str(tmp_path / "run"), "--out", str(out), "--layout"]
    exports_command.main([*arguments, "lerobot"])
    told = capsys.readouterr().err
    assert told.index("cannot hold") < told.index("wrote")
    assert "goes on with random ones" in told
    assert 'preprocessor_overrides={"tokenizer_processor": {"tokenizer_name": "NEW_DIR/text_tokenizer"}}' in told
    config, ours = (json.loads((out / name).read_text()) for name in ("config.json", "fasttok.json"))
    assert "fasttok" not in config
    assert list(config["input_features"]) == [
        "observation.images.primary", "observation.images.wrist", "observation.state",
    ]  # fmt: skip
    assert config["output_features"] == {"action": {"type": "ACTION", "shape": [5]}}
    assert config["action_feature_names"] == list(ARM.action_names)
    assert (ours["step"], ours["tokenizer"], ours["layout"]) == (7, run.tok.fingerprint, "lerobot")
    assert all(limit in told for limit in ours["cannot_hold"])
    pre = json.loads((out / "policy_preprocessor.json").read_text())
    assert {step.get("state_file") for step in pre["steps"]} <= {None, *(file.name for file in out.iterdir())}
    assert pre["steps"][5]["config"]["tokenizer_name"] == str(out / "text_tokenizer")
    exports_command.main([*arguments, "openpi", "--overwrite"])
    assert sorted(file.name for file in out.iterdir()) == [
        "assets", "config.json", "fasttok.json", "model.safetensors", "text_tokenizer.json", "tokenizer",
    ]  # fmt: skip
    exports_command.main([*arguments, "fasttok", "--overwrite"])
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json", "model.safetensors", "text_tokenizer.json", "tokenizer",
    ]  # fmt: skip


def test_several_robots_need_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_params(handmade((PLANAR, ARM)), tmp_path / "run", monkeypatch)
    asked = ExportConfig(tmp_path / "run", tmp_path / "out", "lerobot")
    with pytest.raises(InputError, match=r"2 embodiments.*--embodiment with one of: planar, arm"):
        export.export(asked)
    with pytest.raises(InputError, match=r"not trained on embodiment 'ur5'.*planar, arm"):
        export.export(dataclasses.replace(asked, embodiment="ur5"))
    assert not (tmp_path / "out").exists()
    export.export(dataclasses.replace(asked, embodiment="planar"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["chunk_size"], config["max_action_dim"], list(config["input_features"])) == (
        4, 5, ["observation.images.primary", "observation.state"],
    )  # fmt: skip
    weights = load_file(tmp_path / "out" / "model.safetensors")
    kernel = weights["model.action_in_proj.weight"]
    assert kernel[:, :3].all()
    assert not kernel[:, 3:].any()


@pytest.mark.parametrize("layout", ["openpi", "lerobot"])
def test_what_would_act_wrongly_is_refused(tmp_path: Path, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, and with the way out."""
    sizes: Any = {"state": "continuous", "state_dim": 5}
    for more, why in (
        ({"sizes": sizes}, "reads the state as continuous"),
        ({"data": DataConfig(text_length=96, discrete="bins"), "sizes": {"flow": False}}, "no action expert"),
        ({"data": DataConfig(text_length=96, kinds=("vqa",))}, "without robot rows"),
    ):
        run = tmp_path / why
        with_params(handmade(**more), run, monkeypatch)
        with pytest.raises(InputError, match=rf"{why}.*--layout fasttok"):
            export.export(ExportConfig(run, tmp_path / "out", layout))
        assert not (tmp_path / "out").exists()


def test_without_a_camera_lerobot_does_not_run() -> None:
    blind = dataclasses.replace(ARM, cameras=())
    with pytest.raises(InputError, match=r"no camera.*fasttok-serve"):
        lerobot.check(source(handmade((blind,), sizes={"cameras": 0})))


def test_forms_of_actions_that_lerobot_has() -> None:
    """Relative to the state where columns are the same; everything else is refused."""

    def robot(form: Any, *pieces: ActionColumns, rotation: Any = "stored") -> Any:
        made = Representation(form=form, rotation=rotation, pieces=(*pieces, ActionColumns(4, 1, "gripper")))
        names = tuple(made.names(ARM.action_names))
        return dataclasses.replace(
            ARM, representation=made, action_dim=made.dim, action_encoding=made.encoding, action_names=names
        )

    moves = ActionColumns(0, 4, "absolute", state=(0, 1, 2, 3))
    assert relative_dims(ARM, "RUN") is None
    assert relative_dims(robot("stored", moves), "RUN") is None
    assert relative_dims(robot("delta", ActionColumns(0, 4, "delta")), "RUN") is None
    found = relative_dims(robot("relative", moves), "RUN")
    assert found is not None
    assert (found.names, found.kept) == (ARM.action_names, ("gripper",))
    likely = dataclasses.replace(robot("relative", moves), action_names=("a", "b", "c", "left gripper", "gripper"))
    found = relative_dims(likely, "RUN")
    assert found is not None
    assert found.kept == ("[4] gripper",)
    turned = ActionColumns(0, 3, "absolute", rotation="euler_xyz", state=(0, 1, 2))
    for wrong in (
        robot("delta", moves),
        robot("relative", ActionColumns(0, 4, "delta")),
        robot("relative", ActionColumns(0, 4, "absolute", state=(1, 2, 3, 4))),
        robot("relative", turned, ActionColumns(3, 1, "absolute", state=(3,))),
        robot("stored", turned, ActionColumns(3, 1, "absolute"), rotation="6d"),
        dataclasses.replace(robot("relative", moves), state_dim=4, state_names=ARM.state_names[:4]),
    ):
        with pytest.raises(InputError, match=r"lerobot cannot bring back.*fasttok-serve"):
            relative_dims(wrong, "RUN")


def test_limits_are_said() -> None:
    plain = said(handmade(sizes={**THEIR_SIZES}))
    assert plain.count("\n") == 2  # the gripper, images, and the length of a prompt
    assert "gripper is 1 for open and 0 for closed, as in the shards, and lerobot sends it so" in plain
    assert "224 x 224" in plain
    assert "random ones" in said(handmade())
    assert "below it, lerobot's prompt says -1 and ours 0" in said(handmade(clip=True))
    assert "takes it out of the prompt" in said(handmade(stateless=("arm",)))
    planar = said(handmade((PLANAR, ARM)), "planar")
    assert "4 steps, the longest of the run 6" in planar
    assert "columns 3 to 4" in planar
    assert "with black edges if" in plain
    assert "filter, stretched" in said(handmade(data=DataConfig(text_length=96, resize="stretch")))
    told = dataclasses.replace(ARM, subtask=True)
    assert "acts on the task alone" in said(handmade((told,)))
    worded = dataclasses.replace(ARM, prompts=("What should I do to {prompt}?", "{prompt}"), image_format="png")
    assert "training read 'What should I do to TASK?', and lerobot reads" in said(handmade((worded,)))
    assert "went through: PNG, then" in said(handmade((worded,)))
    arrow = dataclasses.replace(PLANAR, action_encoding=("delta",) * 3)
    assert "gripper" not in said(handmade((arrow,)))


@settings(max_examples=50, deadline=None)
@given(
    scale=st.lists(st.sampled_from([0.0, 1e-3, 1.0, 100.0]), min_size=3, max_size=3),
    mode=st.sampled_from(["quantile", "mean_std", "min_max", "none"]),
    constants=st.sampled_from(["zero", "low"]),
    mask=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_their_arithmetic_is_ours(scale: list[float], mode: Any, constants: Any, mask: list[bool]) -> None:
    """Whatever a dim is normalised by: lerobot's formula in float32, openpi's in float64; and back."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)) * scale + 0.5
    stats = NormStats.fit(x, mode, np.array(mask), constants=constants)
    seen = np.concatenate([x, x * 3]).astype(np.float32)
    ours = stats.normalize(seen.astype(np.float64))
    low, high = state_quantiles(stats)
    span = np.where(high == low, np.float32(1e-8), high - low)
    theirs = np.float32(2) * (seen - low) / span - np.float32(1)
    assert theirs.dtype == np.float32
    near = np.abs(theirs - ours) <= 1e-3 + 1e-4 * np.abs(ours)
    assert near[:, [d for d in range(3) if d not in rounded_states(stats)]].all()
    still = np.array([by.startswith("constant") for by in stats.normalized_by])
    assert np.array_equal(bins(theirs)[:, still], bins(ours)[:, still])
    acted = rng.normal(size=(50, 3)).astype(np.float32)
    low, high = action_quantiles(stats)
    span = np.where(high == low, np.float32(1e-8), high - low)
    raw = (acted + np.float32(1)) * span / np.float32(2) + low
    np.testing.assert_allclose(raw, stats.unnormalize(acted.astype(np.float64)), atol=1e-4, rtol=1e-5)
    for acts in (True, False):
        told = openpi.openpi_stats(stats, acts)
        q01, q99 = np.array(told.q01), np.array(told.q99)
        if acts:
            back = (acted.astype(np.float64) + 1) / 2 * (q99 - q01 + 1e-6) + q01
            np.testing.assert_allclose(back, stats.unnormalize(acted.astype(np.float64)), atol=1e-8, rtol=1e-8)
        else:
            there = (seen.astype(np.float64) - q01) / (q99 - q01 + 1e-6) * 2 - 1
            np.testing.assert_allclose(there, ours, atol=1e-6, rtol=1e-6)


def test_ranges_that_float32_does_not_know_are_named() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2)) * np.array([1.0, 1e-3]) + np.array([0.0, 1e5])
    stats = NormStats.fit(x)
    assert rounded_states(stats) == [1]
    assert rounded_actions(stats) == [1]


def test_statistics_are_safetensors() -> None:
    stats = NormStats.fit(numbers(ARM, 5))
    read = load(stats_file({"action": action_quantiles(stats), "observation.state": state_quantiles(stats)}))
    assert sorted(read) == ["action.q01", "action.q99", "observation.state.q01", "observation.state.q99"]
    assert np.array_equal(read["action.q99"], action_quantiles(stats)[1])


def test_openpi_gets_the_statistics_of_every_robot() -> None:
    files = openpi.files(source(handmade((PLANAR, ARM), stateless=("planar",)))).files
    both = {name: json.loads(files[f"assets/{name}/norm_stats.json"])["norm_stats"] for name in ("planar", "arm")}
    assert (list(both["planar"]), list(both["arm"])) == (["actions"], ["actions", "state"])
    assert len(both["arm"]["state"]["q01"]) == 5
    names = (dataclasses.replace(ARM, embodiment="a/b"), dataclasses.replace(ARM, embodiment="a_b"))
    with pytest.raises(InputError, match=r"share a folder.*--embodiment"):
        openpi.check(source(handmade(names)))
    hostile = dataclasses.replace(ARM, embodiment="../../x")
    assert sorted(openpi.files(source(handmade((hostile,)))).files) == [
        "assets/_.._x/norm_stats.json", "config.json",
    ]  # fmt: skip
    assert "fetches PaliGemma's" in "\n".join(openpi.files(source(handmade((PLANAR, ARM)))).limits)


def test_what_openpi_cannot_hold_is_said() -> None:
    robot = dataclasses.replace(ARM, subtask=True, prompts=("Please {prompt}",))
    run = handmade((robot,), data=DataConfig(text_length=300))
    run = dataclasses.replace(run, robots=dataclasses.replace(run.robots, slots=CAMERA_SLOTS))
    told = "\n".join(openpi.files(source(run)).limits)
    assert "4 cameras: openpi's model reads 3" in told
    assert "max_token_len=300" in told
    assert "subtasks in the prompts of arm" in told
    assert "'Please TASK', and openpi reads the task as it gets it" in told
    assert "gripper is 1 for open" in told
    assert "JPEG of quality 95" in told


def test_options_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="--vocab-size is -1, expected a number of rows"):
        ExportConfig(Path("run"), Path("out"), "openpi", vocab_size=-1)
    with pytest.raises(InputError, match="--embodiment arm says nothing to --layout fasttok"):
        ExportConfig(Path("run"), Path("out"), embodiment="arm")


def test_action_rows_of_another_tokenizer_are_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file of ours in a layout of others, too: its rows of FAST ids mean other actions."""
    run = handmade()
    with_params(run, tmp_path / "run", monkeypatch)
    export.export(ExportConfig(tmp_path / "run", tmp_path / "out", "openpi"))
    model, text = run.config.model, run.text.size
    same = plan(tmp_path / "out", model, text_rows=text, tokenizer=run.tok.fingerprint)
    other = plan(tmp_path / "out", model, text_rows=text, tokenizer="0" * 16)
    assert (same.rows, other.rows) == (model.vocab_size, text)


def test_prompts_are_rewritten_only_where_they_differ() -> None:
    assert lerobot.prompt_rewrite(source(handmade()), ARM) is None
    asked = source(handmade(data=DataConfig(text_length=96, control_mode=True)))
    rewrite = lerobot.prompt_rewrite(asked, ARM)
    assert rewrite is not None
    assert rewrite.text == ", Control: end effector position, State: "
