"""Shards without pictures train and are evaluated; a preset that would train on questions says that there are none."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.chain import Chain
from tests.train.tiny_runs import config
from train.evaluate import EvaluateConfig, main
from train.loop import run


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Shards of a table that holds numbers only."""
    root = tmp_path_factory.mktemp("blind")
    rng = np.random.default_rng(0)
    state = np.cumsum(rng.normal(size=(6, 80, 3)), axis=1)
    np.savez(root / "arm.npz", action=np.roll(state, -1, axis=1)[:, :-1], state=state[:, :-1])
    run_index(IndexConfig((str(root / "arm.npz"),), str(root / "index"), control_hz=("arm=10",)), [])
    run_build(BuildConfig("all", str(root / "shards"), 64, str(root / "index")), [])
    return Chain(root, root / "index", root / "shards" / "tokenizer", root / "shards")


@pytest.mark.slow
def test_shards_without_cameras_train_and_are_evaluated(
    blind: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run(config(blind, tmp_path / "run", steps=2))
    assert "contains no questions or captions" in caplog.text
    assert f"--held-out {blind.shards}" in caplog.text
    (errors,) = main(EvaluateConfig(tmp_path / "run", held_out=blind.shards, held_out_rows=8, batch=4)).actions
    assert errors.embodiment == "arm"
