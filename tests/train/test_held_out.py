"""Held-out numbers: the same rows and noise each time, training untouched, errors before the first step, the best one kept."""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.shared_folders import once
from tests.train.tiny_runs import config, losses
from train import sharding
from train.best_checkpoint import BestCheckpoint, kept
from train.checkpoint import load_params
from train.config import OptimConfig, TrainConfig
from train.held_out import HeldOut
from train.held_out_rows import read_rows, spread_rows
from train.initial_params import initial_params
from train.loop import run
from train.open_loop import action_errors
from train.player import Player
from train.setup import prepare
from train.step import State, begin

MIXTURE = """
sources:
  - {dataset: tabletop_planar, split: val, weight: 3}
  - {dataset: tabletop_arm, split: val, weight: 3}
  - {dataset: tabletop_vqa, split: val, weight: 1}
  - {dataset: tabletop_captions, split: val, weight: 1}
"""


@pytest.fixture(scope="session")
def val_shards(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows of the episodes, questions and captions that `chain` holds out."""
    from pipelines.builder.config import BuildConfig
    from pipelines.builder.run import run_build

    def make(out: Path) -> None:
        (out / "val.yaml").parent.mkdir(parents=True, exist_ok=True)
        (out / "val.yaml").write_text(MIXTURE)
        run_build(
            BuildConfig(
                str(out / "val.yaml"), str(out / "shards"), 120, str(chain.index), str(chain.tokenizer), shards=2
            ),
            [],
        )

    return once(tmp_path_factory, "val_shards", make) / "shards"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_try(chain: Chain, val_shards: Path, trained: Path, tmp_path: Path) -> None:
    print(
        {
            n: (s.kind, s.dataset, s.split, s.written, s.action_names)
            for n, s in ShardReader(str(val_shards)).manifest.sources.items()
        }
    )
    out = tmp_path / "run"
    run(config(chain, out, held_out=val_shards, held_out_every=2, held_out_rows=20, keep_best=True))
    assert losses(out) == losses(trained)
    for row in rows_of(out):
        print(row)
    subprocess.run(["find", str(out / "best")])
    raise AssertionError
