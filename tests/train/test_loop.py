"""Training on real shards: learns, logs, resumes to the bit, refuses what does not fit; a trained run acts and answers."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.tiny_runs import FakeEnv, command, config, losses, rows_of, until_logged
from train.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig
from train.given_paths import check_training
from train.loop import run
from train.player import Player
from train.presets import get_preset
from train.runs.run_folder import load_config


def test_three_losses_are_logged_and_all_count(trained: Path) -> None:
    rows = losses(trained)
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    for _, total, vlm, fast, flow, _ in rows:
        assert min(vlm, fast, flow) > 0
        assert np.isclose(total, vlm + fast + flow)


def test_two_steps_then_resume_is_four_steps_to_the_bit(chain: Chain, trained: Path, tmp_path: Path) -> None:
    """`stop after 2` is a checkpoint taken out of the middle of a run of 4."""
    out = tmp_path / "run"
    run(config(chain, out, checkpoint_every=2, keep=5))
    assert losses(out) == losses(trained)
    shutil.rmtree(out / "checkpoints" / "4")
    run(config(chain, out, checkpoint_every=2, keep=5, resume=True))
    assert losses(out) == losses(trained)


def test_a_run_goes_on_when_what_it_began_from_is_gone(chain: Chain, trained: Path, tmp_path: Path) -> None:
    base, out = shutil.copytree(trained, tmp_path / "base"), tmp_path / "run"
    begun = config(chain, out, init_from=base, checkpoint_every=2, keep=5)
    check_training(begun)
    run(begun)
    whole = losses(out)
    shutil.rmtree(base)
    shutil.rmtree(out / "checkpoints" / "4")
    with pytest.raises(InputError, match="base"):
        check_training(begun)
    resumed = config(chain, out, init_from=base, checkpoint_every=2, keep=5, resume=True)
    check_training(resumed)
    run(resumed)
    assert losses(out) == whole


@pytest.mark.slow
def test_killed_and_resumed_training_repeats_its_losses(chain: Chain, tmp_path: Path) -> None:
    whole, cut, more = tmp_path / "whole", tmp_path / "cut", ("--steps=60", "--checkpoint-every=5")
    subprocess.run(command(chain, whole, *more), check=True, capture_output=True)
    process = subprocess.Popen(command(chain, cut, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_logged(process, cut, 22)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command(chain, cut, *more, "--resume"), check=True, capture_output=True)
    assert losses(cut) == losses(whole)


@pytest.mark.slow
def test_training_learns(chain: Chain, tmp_path: Path) -> None:
    run(config(chain, tmp_path / "run", steps=60, optim=OptimConfig(learning_rate=3e-3, warmup=5)))
    rows = np.array(losses(tmp_path / "run"))
    assert rows[-5:, 1].mean() < 0.75 * rows[:2, 1].mean()


@pytest.mark.slow
def test_vlm_first_then_ki(chain: Chain, tmp_path: Path) -> None:
    preset = get_preset("vlm")
    assert not preset.model.flow
    run(config(chain, tmp_path / "vlm", model={"flow": False}, data={"kinds": preset.data.kinds}, steps=2))
    assert all(row["n_fast"] == 0 and "loss_flow" not in row for row in rows_of(tmp_path / "vlm"))
    run(config(chain, tmp_path / "ki", init_from=tmp_path / "vlm", steps=1))
    assert load_config(tmp_path / "ki").model.flow
    with pytest.raises(InputError, match="other shapes"):
        run(config(chain, tmp_path / "bad", init_from=tmp_path / "vlm", model={"patch": 8}, steps=1))


def test_what_does_not_fit_is_refused(chain: Chain, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        run(config(chain, trained))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="not a run"):
        run(config(chain, tmp_path / "mine", overwrite=True))
    with pytest.raises(InputError, match=r"--model\.horizon is 3"):
        run(config(chain, tmp_path / "run", model={"horizon": 3}))
    with pytest.raises(InputError, match="resume"):
        run(TrainConfig(tmp_path / "nowhere", tmp_path / "run"))
    with pytest.raises(InputError, match="preset"):
        get_preset("kii")
    with pytest.raises(InputError, match=r"insulation.*\[0, 1\]"):
        ModelConfig(insulation=(2.0,))
    with pytest.raises(InputError, match=r"raise --data\.text-length"):
        run(config(chain, tmp_path / "short", data={"text_length": 16}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"patch": 0}}, r"--model\.patch is 0, expected at least 1"),
        ({"model": {"vision_heads": 0}}, r"--model\.vision-heads is 0, expected at least 1"),
        ({"model": {"depth": 0}}, r"--model\.depth is 0, expected at least 1"),
        ({"model": {"head_dim": 15}}, r"--model\.head-dim is 15, expected an even number"),
        ({"model": {"expert_width": 23}}, r"--model\.expert-width is 23, expected an even number"),
        ({"model": {"horizon": -1}}, r"--model\.horizon is -1, expected at least 0"),
        ({"data": {"threads": -2}}, r"--data\.threads is -2, expected at least 0"),
        ({"data": {"action_skip": -1}}, r"--data\.action-skip is -1, expected at least 0"),
        ({"alpha": -1.0}, "--alpha is -1.0, expected a finite number from 0"),
        ({"alpha": float("nan")}, "--alpha is nan"),
        ({"probe_every": -1}, "--probe-every is -1, expected at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    chain: Chain, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        config(chain, tmp_path / "run", **change)


def test_changes_to_images_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"--augment\.crop is 0\.0, expected a share"):
        AugmentConfig(crop=0.0)
    with pytest.raises(InputError, match=r"--augment\.contrast is -0\.1, expected a number from 0 to 1"):
        AugmentConfig(contrast=-0.1)


def test_a_seed_that_no_step_takes_is_refused_before_an_earlier_run_is_deleted(chain: Chain, tmp_path: Path) -> None:
    for seed in (2**31, -(2**31) - 1):
        with pytest.raises(InputError, match=rf"--seed is {seed}, expected -2147483648 to 2147483647"):
            config(chain, tmp_path / "run", seed=seed, overwrite=True)
    for seed in (2**31 - 1, -(2**31)):
        assert int(np.int32(config(chain, tmp_path / "run", seed=seed).seed)) == seed


def test_a_run_is_not_resumed_with_another_tokenizer(chain: Chain, trained: Path, tmp_path: Path) -> None:
    """Same shapes, other ids and units: nothing else would notice, and RUN's own tokenizer would be replaced."""
    other, cut = shutil.copytree(chain.tokenizer, tmp_path / "other"), shutil.copytree(trained, tmp_path / "run")
    text = (other / "processor_config.json").read_text()
    (other / "processor_config.json").write_text(text.replace('"scale": 10.0', '"scale": 9.0'))
    before = (cut / "tokenizer" / "processor_config.json").read_bytes()
    with pytest.raises(InputError, match=r"was begun with tokenizer .*other is .*--data\.tokenizer .*run/tokenizer"):
        run(config(chain, cut, resume=True, data={"tokenizer": other}))
    assert (cut / "tokenizer" / "processor_config.json").read_bytes() == before


def make_fake(embodiment: str, split: str) -> FakeEnv:
    return FakeEnv(split)


def test_evaluation_counts_and_questions(
    chain: Chain, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import evaluate

    monkeypatch.setattr(evaluate, "load_factory", lambda name: make_fake)
    asked = evaluate.EvaluateConfig(
        trained, env="fake:make", embodiments=("planar",), episodes=6, batch=4, seed=10, vqa=chain.data / "tabletop_vqa",
        out=tmp_path / "out.json", rollouts=tmp_path / "films.npz", films_page=tmp_path / "films.html",
    )  # fmt: skip
    results = evaluate.main(asked, "fasttok-evaluate --run 'my run'")
    seen, held = results.world
    assert (seen.episodes, seen.success, seen.followed) == (6, 0.5, 1.0)
    assert (held.split, held.success, held.followed) == ("held_out", 0.5, 0.0)
    assert results.vqa is not None
    assert results.vqa.questions == 6
    assert 0 <= results.vqa.accuracy <= 1
    assert json.loads((tmp_path / "out.json").read_text())["step"] == 4
    with np.load(tmp_path / "films.npz") as films:
        assert films["planar/seen/0/steps"].tolist() == [0, 3]  # success at the third step
        assert films["planar/seen/1/steps"].tolist() == [0, 3, 6]
        assert films["planar/seen/1"].shape == (3, 64, 64, 3)
    page = (tmp_path / "films.html").read_text()
    assert "3 of 6: 50 %" in page
    assert "fasttok-evaluate --run &#x27;my run&#x27;" in page
    assert re.findall(r'aria-label="policy: [^"]*, seed (\d+), (\w+) after', page) == 2 * [
        ("11", "failure"), ("13", "failure"), ("10", "success"), ("12", "success"),
    ]  # fmt: skip
    assert results.companions == ()  # this environment offers none


def test_a_run_of_before_whose_shards_are_elsewhere_says_so(
    chain: Chain, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of before have no robots.json: their shards are read, where they were or where `shards` says."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "robots.json").unlink()
    assert Player.load(tmp_path / "run").embodiments == Player.load(trained).embodiments
    saved = tmp_path / "run" / "config.json"
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"shards": "SHARDS"}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"trained on SHARDS, looked for from the current folder: SHARDS/manifest\.json"
    ):
        Player.load(Path("run"))
    assert Player.load(Path("run"), shards=chain.shards).encoder.robots == Player.load(trained).encoder.robots


def test_evaluation_refuses_clearly(chain: Chain, trained: Path, tmp_path: Path) -> None:
    from train.evaluate import EvaluateConfig, main
    from train.rollouts import load_factory

    with pytest.raises(InputError, match="--env"):
        main(EvaluateConfig(trained))
    vqa = chain.data / "tabletop_vqa"
    for read in (trained / "config.json", vqa / "dataset.yaml"):
        with pytest.raises(InputError, match=f"--out {read} is a file of"):
            main(EvaluateConfig(trained, vqa=vqa, out=read, overwrite=True))
    for rows in (0, -3):
        with pytest.raises(InputError, match=f"--held-out-rows is {rows}; expected at least 1"):
            main(EvaluateConfig(trained, held_out=tmp_path, held_out_rows=rows))
    with pytest.raises(InputError, match="--vqa-questions is -1; expected at least 1"):
        main(EvaluateConfig(trained, vqa=vqa, vqa_questions=-1))
    with pytest.raises(InputError, match="--seed is -1; expected at least 0"):
        main(EvaluateConfig(trained, env="examples.tabletop.env:make", seed=-1))
    with pytest.raises(InputError, match="is also --out"):
        main(EvaluateConfig(trained, env="examples.tabletop.env:make", out=tmp_path / "a", rollouts=tmp_path / "a"))
    with pytest.raises(InputError, match="module:factory"):
        load_factory("examples.tabletop.env")
    with pytest.raises(InputError, match="not a run"):
        main(EvaluateConfig(tmp_path, env="examples.tabletop.env:make"))
    with pytest.raises(InputError, match=r"dataset\.yaml"):
        main(EvaluateConfig(trained, vqa=tmp_path))
