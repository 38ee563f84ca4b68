"""A model of a few thousand parameters, a batch for it, and one step of training."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train import model
from train.config import ModelConfig, TrainConfig
from train.devices import sharding
from train.presets import get_preset
from train.step import begin, train_step

SMALL = ModelConfig(
    image_size=32, vision_width=32, vision_depth=1, vision_heads=2, vision_mlp=48, width=32, depth=3, heads=2, head_dim=16,
    mlp=48, expert_width=24, expert_mlp=32, vocab_size=50, horizon=4, action_dim=3, cameras=2,
)  # fmt: skip
ROWS = 16
RECIPES = ("hybrid_vla", "oft", "transfusion")  # presets of the same names; the others have recipe "insulated"


def make_batch(rows: int = 6, length: int = 12, seed: int = 0) -> dict[str, Any]:
    """Robot rows, and a last row that is VQA; the second camera is absent on odd rows; one padded step and dim."""
    rng = np.random.default_rng(seed)
    n = np.arange(length)[None]
    prefix, total = rng.integers(3, 6, (rows, 1)), rng.integers(7, length + 1, (rows, 1))
    robot = np.arange(rows) < rows - 1
    action_mask = np.ones((rows, 4, 3), bool) & robot[:, None, None]
    action_mask[0, 3:], action_mask[1, :, 2] = False, False
    return {
        "images": rng.uniform(-1, 1, (rows, 2, 32, 32, 3)).astype(np.float32),
        "image_mask": np.stack([np.ones(rows, bool), np.arange(rows) % 2 == 0], axis=1),
        "tokens": rng.integers(3, 50, (rows, length)).astype(np.int32) * (n < total),
        "token_mask": n < total,
        "token_ar": (n >= prefix) & (n < total),
        "loss_mask": (n >= prefix) & (n < total),
        "is_action": robot,
        "actions": rng.normal(size=(rows, 4, 3)).astype(np.float32),
        "action_mask": action_mask,
        "embodiment_mask": np.ones((rows, 4, 3), bool),
    }


def config(**more: Any) -> TrainConfig:
    return TrainConfig(Path("s"), Path("r"), **{"model": SMALL, "batch_size": ROWS, "steps": 10, **more})


def one_step(config: TrainConfig, batch: dict[str, Any] | None = None, mesh: Any = None) -> Any:
    mesh = mesh or sharding.make_mesh(config.fsdp, config.batch_size, config.accumulate)
    state = begin(model.init(jax.random.key(0), config.model), config, mesh)
    rows = sharding.put_rows(batch or make_batch(ROWS), mesh)
    return train_step(state, rows, jnp.int32(1), config=config, model_config=config.model, mesh=mesh)


def gradient_norms_and_losses(metrics: dict[str, Any]) -> np.ndarray:
    names = sorted(n for n in metrics if n.startswith(("loss", "ce", "grad_norm", "n_")))
    return np.array([float(metrics[n]) for n in names])


def shaped(name: str, **more: Any) -> ModelConfig:
    """SMALL with what the preset of a recipe says of the model."""
    asked = get_preset(name).model
    form = {"recipe": asked.recipe, "insulation": asked.insulation, "state": asked.state, "state_in": asked.state_in}
    return replace(SMALL, **form | {"state_dim": 5 if asked.state_token else 0} | more)


def with_state(batch: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    rows = len(batch["tokens"])
    state = np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)
    return batch | {"state": state, "state_mask": np.arange(rows) != 1}


def on_eight_devices(script: str) -> str:
    """What a script prints where the CPU stands for eight devices. It begins with jax, np and all that this file has.

    XLA's other flags stay: without those of tests/conftest.py compiling takes several times as long.
    """
    begin = """
import jax, numpy as np
jax.config.update("jax_default_matmul_precision", "highest")
from tests.train.small import *
assert jax.device_count() == 8
"""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", begin + script], env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
