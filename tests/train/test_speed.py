"""What a run says of its speed: compiling is told and counted apart, and rates begin after it."""

import logging
import time
from pathlib import Path

import pytest

from tests.chain import Chain
from tests.train.tiny_runs import config
from train.runs.speed import Clock
from train.runs.tracker import line
from train.setup import prepare


def test_compiling_is_said_and_is_not_in_the_rate(
    chain: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="train")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(prepare(config(chain, tmp_path / "run")))
    laps = []
    for step, program in ((1, "a"), (2, "a"), (3, "b"), (4, "b")):
        with clock.compiling("the training step", {"config": program}, {}):
            now += 50.0 if step in (1, 3) else 0.0
        now += 2.0
        laps.append(clock.lap(step))
    assert laps[0] == {"compile_seconds": 50.0}
    assert [lap["samples_per_second"] for lap in laps[1:]] == [4.0, 4.0, 4.0]
    assert "compile_seconds" not in laps[1]
    assert laps[2]["compile_seconds"] == 50.0
    assert caplog.text.count("compiling the training step") == 2
    assert caplog.text.count("compiled the training step in 50.0 s") == 2


def test_a_line_says_what_its_numbers_are() -> None:
    row = {"step": 5, "loss": 3.0, "loss_fast": 0.0, "n_fast": 0, "loss_flow": 0.25, "n_flow": 30, "loss_vlm": 1.5, "n_vlm": 7,
           "grad_norm_backbone": 3.28, "grad_norm_expert": 4.27, "grad_norm_vision": 1.0}  # fmt: skip
    assert line(row) == "vlm 1.500  flow 0.250  |g| backbone 3.28 expert 4.27"
    assert line({"step": 5, "loss_oft": 0.5, "grad_norm_expert": 1.0}) == "oft 0.500  |g| expert 1.00"
