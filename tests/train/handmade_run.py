"""A run without training: robots, statistics and tokenizers as one wants them, and parameters drawn at random."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from tests.train.tiny_runs import TINY
from train import model, player
from train.acting.robots import Robot, Robots
from train.config import DataConfig, ModelConfig, TrainConfig
from train.examples import Encoder
from train.params import Params
from train.runs import checkpoint
from train.runs.run_folder import SavedRun
from train.tokens import TextTokenizer

TASKS = ("push the red circle", "put the cup on the plate", "open_the drawer\nslowly", "x")
ARM = Robot(
    dataset="d",
    embodiment="arm",
    control_hz=10,
    horizon=6,
    action_dim=5,
    action_encoding=("absolute",) * 4 + ("gripper",),
    action_names=("x (m)", "y (m)", "z (m)", "yaw (rad)", "gripper"),
    state_dim=5,
    state_names=("x (m)", "y (m)", "z (m)", "yaw (rad)", "gripper"),
    cameras=("primary", "wrist"),
    resize=None,
    encode=None,
    representation=None,
)
PLANAR = dataclasses.replace(
    ARM,
    embodiment="planar",
    horizon=4,
    action_dim=3,
    action_encoding=("delta", "delta", "gripper"),
    action_names=("dx (m)", "dy (m)", "gripper"),
    state_dim=3,
    state_names=("x (m)", "y (m)", "gripper"),
    cameras=("primary",),
)


class GivenNoise:
    """Noise that is already there, where a policy draws it."""

    def __init__(self, noise: np.ndarray) -> None:
        self.noise = noise

    def standard_normal(self, shape: tuple[int, ...], dtype: object) -> np.ndarray:
        """The noise."""
        assert (self.noise.shape, self.noise.dtype) == (shape, dtype)
        return self.noise


def numbers(robot: Robot, dim: int, rows: int = 2000) -> np.ndarray:
    """Values of a robot's dims: of very different ranges; the fourth never moves."""
    rng = np.random.default_rng(dim)
    values = rng.normal(size=(rows, dim)) * np.array([0.1, 2.0, 90.0, 0.0, 1.0, 1.0, 1.0])[:dim] + 3.0
    if "gripper" in robot.action_names[-1]:
        values[:, -1] = rng.integers(0, 2, rows)
    return values


def handmade(
    robots: tuple[Robot, ...] = (ARM,),
    stateless: tuple[str, ...] = (),
    data: DataConfig | None = None,
    clip: bool = False,
    sizes: Mapping[str, int] | None = None,
) -> SavedRun:
    """A run but for its parameters.

    Args:
        robots: what it was trained on.
        stateless: embodiments without statistics of the state.
        data: of the run.
        clip: whether states are cut to their range.
        sizes: of the model, beside those of `TINY`.
    """
    text = TextTokenizer.train([*TASKS, "Task: , State: ;\nAction: , Control: end effector position"], 500)
    stats = {one.embodiment: NormStats.fit(numbers(one, one.action_dim)) for one in robots}
    chunks = {one.embodiment: numbers(one, one.action_dim, 10 * one.horizon) for one in robots}
    states = {
        one.embodiment: NormStats.fit(numbers(one, one.state_dim), clip=clip)
        for one in robots
        if one.embodiment not in stateless
    }
    tok = ActionTokenizer.fit(
        {name: values.reshape(10, -1, values.shape[1]) for name, values in chunks.items()},
        400,
        scale=2.0,
        stats=stats,
        embodiments={one.embodiment: Embodiment(horizon=one.horizon, action_dim=one.action_dim) for one in robots},
    )
    tok = dataclasses.replace(tok, state_stats=states)
    slots = tuple(slot for slot in ("primary", "wrist") if any(slot in one.cameras for one in robots))
    known = Robots(slots=slots, robots={one.embodiment: one for one in robots}, bgr={}, tokenizer=tok.fingerprint)
    given = data or DataConfig(text_length=96)
    shape = ModelConfig(
        **cast(Any, TINY)
        | {"horizon": max(one.horizon for one in robots), "action_dim": max(one.action_dim for one in robots)}
        | {"cameras": len(slots)}
        | dict(sizes or {})
    )
    shape = dataclasses.replace(shape, vocab_size=Encoder(known, text, shape, given, tok).placement.size)
    return SavedRun(TrainConfig(Path("s"), Path("r"), model=shape, data=given), text, tok, known)


def with_params(run: SavedRun, folder: Path, patch: pytest.MonkeyPatch) -> Params:
    """Writes RUN, and has everybody who reads a checkpoint find random parameters, none of them 0."""
    run.save(folder)
    rng = np.random.default_rng(0)
    begun = model.init(jax.random.key(0), run.config.model)
    params = jax.tree.map(lambda x: jnp.asarray(x + 0.03 * rng.standard_normal(x.shape).astype(np.float32)), begun)

    def load(_: Path, step: object = None) -> tuple[TrainConfig, Params, int]:
        assert step is None
        return run.config, params, 7

    patch.setattr(checkpoint, "load_params", load)
    patch.setattr(player, "load_params", load)
    return cast(Params, params)
