"""Measures a run on held-out rows while it trains: losses and action errors, on fixed rows with fixed noise.

The rows, and each row's flow times and noise, are the same at every step, in every run on these shards, and for every batch size
and number of devices. So if the numbers of two steps or two runs differ, the cause is what was learned. Measuring changes nothing
in training: neither its state, nor its data order, nor its random numbers, so that its losses are the same without it.

    held_out_loss_vlm, held_out_loss_fast, held_out_loss_flow    the losses of training, over all rows as one batch (if a recipe
                                                                 has another name for its action loss, so has its number here);
                                                                 with --rtc-delay, no actions are given, and all steps count
    held_out_ce_vlm, held_out_ce_fast                            cross-entropy per token of this loss
    held_out_loss                                                the sum of the losses, weighted as in training
    held_out_error/ROBOT/DIM       rmse of sampled actions in normalised units, in which most of the data is in [-1, 1]
    held_out_error_raw/ROBOT/DIM   the same in the units of the shards
    held_out_nrmse/ROBOT           action error as in `fasttok-evaluate`: always predicting the mean demonstration gives 1
    held_out_nrmse                 the mean over robots that move in these rows

Actions are the mean of four samples with ten Euler steps each, as in `fasttok-evaluate --held-out`. The parameters are the moving
average if the run keeps one. If there are several processes, each decodes and computes its part of the rows, and all of them get
all numbers.
"""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from fasttok.actions.normalize import NormStats
from train import losses, model
from train.batches import NumpyBatch
from train.config import LossNorm, ModelConfig
from train.devices import sharding
from train.judging.held_out_rows import HeldOutRow, read_rows
from train.judging.measurements import DRAWS, normalized_rmse
from train.losses import Metrics
from train.model import Batch
from train.params import Params
from train.recipe import recipe_of
from train.runs.best_checkpoint import BestCheckpoint
from train.runs.speed import Clock
from train.runs.tracker_thread import Numbers
from train.setup import Setup
from train.step import State, shown

logger = logging.getLogger(__name__)
NOISE_SEED, FLOW_STEPS = 20_250_523, 10


class HeldOutNumbers:
    """Measures a run on rows that it does not train on, and keeps its best checkpoint if the run asks for that."""

    def __init__(self, setup: Setup, mesh: Mesh) -> None:
        """Reads the rows.

        Args:
            setup: setup of the run; its configuration names the shards.
            mesh: the devices.

        Raises:
            InputError: the rows do not fit the run.
        """
        config = setup.config
        assert config.held_out is not None
        self.setup, self.mesh = setup, mesh
        self.every = config.held_out_every or config.checkpoint_every
        self.rows, digest = read_rows(setup, config.held_out, config.held_out_rows)
        self.best = BestCheckpoint(config.out, digest) if config.keep_best else None
        self.size = config.batch_size // config.accumulate
        self.acting = setup.model.flow and any(row.embodiment for row in self.rows)

    @property
    def decides(self) -> str:
        """Number that decides which checkpoint is best: the error of sampled actions if the run has any, else the loss."""
        return "held_out_nrmse" if self.acting else "held_out_loss"

    def after(self, step: int, state: State, clock: Clock) -> Numbers:
        """Returns the numbers after a step if they are due, else {}; keeps the checkpoint if it is the best so far.

        Args:
            step: step that was done.
            state: training state after this step; it is not changed.
            clock: clock of the run; the time of measuring is not counted in it.
        """
        if step % self.every and step != self.setup.config.steps:
            return {}
        jax.block_until_ready(state.params)
        began = time.monotonic()
        numbers = self.measure(state)
        if self.best is not None and self.decides in numbers:
            self.best.offer(step, state, self.decides, numbers[self.decides], self.setup.resolved)
        clock.skip(time.monotonic() - began)
        return numbers

    def measure(self, state: State) -> Numbers:
        """Returns the numbers of a training state, by the names at the top of this module."""
        config, sums = self.setup.config, dict[str, float]()
        predicted: dict[int, NDArray[np.float32]] = {}
        text, flow = self._weights()
        with ThreadPoolExecutor(config.data.threads or len(os.sched_getaffinity(0))) as pool:
            for first in range(0, len(self.rows), self.size):
                batch = self._batch(first, text, flow, pool)
                metrics, numbers, chunks = _measure(
                    state.params, state.ema, sharding.put_rows(batch, self.mesh), still=config.still, alpha=config.alpha,
                    loss_norm=config.loss_norm, model_config=self.setup.model, mesh=self.mesh,
                )  # fmt: skip
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                predicted |= dict(zip(np.asarray(numbers).tolist(), np.asarray(chunks), strict=True))
        out = self._losses(sums) | (self._errors(predicted) if self.acting else {})
        bad = [name for name, value in out.items() if not math.isfinite(value)]
        if bad:
            logger.warning(f"held-out numbers that are not finite: {', '.join(bad)}")
        return {name: value for name, value in out.items() if name not in bad}

    def close(self) -> None:
        """Waits for the checkpoint that is being written."""
        if self.best is not None:
            self.best.close()

    def _weights(self) -> tuple[NDArray[np.float32], float]:
        """Returns the weight of a token in each row, (rows,), and the weight of one action error.

        With these weights, all rows count as one batch. Each number of an action has `DRAWS` errors.
        """
        tokens = np.array([len(row.example.suffix) for row in self.rows])
        if self.setup.config.loss_norm == "tokens":
            text = np.full(len(tokens), 1.0 / max(tokens.sum(), 1))
        else:
            text = 1.0 / (max((tokens > 0).sum(), 1) * np.maximum(tokens, 1))
        numbers = sum(self.setup.batcher.learned_steps(row.example) * row.example.dim for row in self.rows)
        return text.astype(np.float32), 1.0 / (DRAWS * max(numbers, 1))

    def _batch(self, first: int, text: NDArray[np.float32], flow: float, pool: ThreadPoolExecutor) -> NumpyBatch:
        """Makes this process's part of the batch that begins with row `first`; rows that fill it up at the end have weight 0."""
        own = self.size // jax.process_count()
        begin = first + jax.process_index() * own
        rows = self.rows[begin : begin + own]
        filler = dataclasses.replace(self.rows[0], number=-1)
        examples = [row.example for row in [*rows, *[filler] * (own - len(rows))]]
        batch = self.setup.batcher(examples, pool)
        for name in ("loss_mask", "action_mask"):
            batch[name][len(rows) :] = False
        numbers = np.array([row.number for row in rows] + [-1] * (own - len(rows)), np.int32)
        return batch | {
            "number": numbers,
            "text_weight": np.where(numbers < 0, 0, text[numbers]).astype(np.float32),
            "flow_weight": np.where(numbers < 0, 0, flow).astype(np.float32),
        }

    def _losses(self, sums: Mapping[str, float]) -> Numbers:
        """Returns the losses by the names above, without those for which there are no rows."""
        out = {"held_out_loss": sums["loss"]}
        for name in (name.removeprefix("n_") for name in sums if name.startswith("n_")):
            if sums[f"n_{name}"]:
                out[f"held_out_loss_{name}"] = sums[f"loss_{name}"]
                if f"sum_{name}" in sums:
                    out[f"held_out_ce_{name}"] = sums[f"sum_{name}"] / sums[f"n_{name}"]
        return out

    def _errors(self, predicted: Mapping[int, NDArray[np.float32]]) -> Numbers:
        """Returns the action errors by the names above."""
        out, relative = Numbers(), []
        robots = {robot.embodiment: robot for robot in self.setup.encoder.robots.robots.values()}
        places = dict(zip(robots, _names(tuple(robots)), strict=True))
        for embodiment in dict.fromkeys(row.embodiment for row in self.rows if row.embodiment):
            rows = [row for row in self.rows if row.embodiment == embodiment]
            stats = self.setup.encoder.tok.stats[embodiment]
            normalized, raw, shown = _differences(rows, predicted, stats)
            names = _dim_names(robots[embodiment].action_names, raw.shape[1])
            where = places[embodiment]
            for kind, wrong in (("error", normalized), ("error_raw", raw)):
                rmse = np.sqrt(np.mean(wrong**2, axis=0))
                out |= {f"held_out_{kind}/{where}/{name}": float(e) for name, e in zip(names, rmse, strict=True)}
            relative.append(normalized_rmse(np.sqrt(np.mean(raw**2, axis=0)), shown.std(0)))
            out[f"held_out_nrmse/{where}"] = relative[-1]
        moved = [error for error in relative if math.isfinite(error)]  # a robot that never moves has nothing to predict
        return {"held_out_nrmse": float(np.mean(moved)) if moved else math.nan} | out


def _differences(
    rows: list[HeldOutRow], predicted: Mapping[int, NDArray[np.float32]], stats: NormStats
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns predicted minus demonstrated actions, normalised and in raw units, and demonstrated actions in raw units.

    Each has the shape (steps of all rows, D).
    """
    normalized, raw, shown = [], [], []
    for row in rows:
        steps, dim = row.demonstrated.shape
        chunk, actions = predicted[row.number][:steps, :dim], row.example.actions
        assert actions is not None
        normalized.append(chunk - actions[:steps])
        raw.append(stats.unnormalize(chunk) - row.demonstrated)
        shown.append(row.demonstrated)
    a, b, c = (np.concatenate(parts).astype(np.float64) for parts in (normalized, raw, shown))
    return a, b, c


def _dim_names(names: tuple[str, ...], dim: int) -> list[str]:
    """Returns a name for each dimension, as `_names` does; their numbers if they have no names.

    >>> _dim_names(("x (m)", "y"), 2), _dim_names((), 2)
    (['x (m)', 'y'], ['0', '1'])
    """
    return _names(names if len(names) == dim else tuple(str(i) for i in range(dim)))


def _names(given: tuple[str, ...]) -> list[str]:
    """Returns the names of robots or dimensions as parts of longer names: all differ, and none contains "/".

    >>> _names(("x (m)", "a/b", "x (m)", "a_b")), _names(("q", "q", "q 1"))
    (['x (m)', 'a_b', 'x (m) 2', 'a_b 3'], ['q', 'q 1', 'q 1 2'])
    """
    out: list[str] = []
    for i, name in enumerate(name.replace("/", "_") for name in given):
        while name in out:
            name = f"{name} {i}"
        out.append(name)
    return out


@partial(jax.jit, static_argnames=("still", "alpha", "loss_norm", "model_config", "mesh"))
def _measure(
    params: Params,
    ema: Params | None,
    batch: Batch,
    *,
    still: tuple[str, ...],
    alpha: float,
    loss_norm: LossNorm,
    model_config: ModelConfig,
    mesh: Mesh,
) -> tuple[Metrics, Array, Array]:
    """Returns the sums of the losses over some rows, each row's number, and its predicted actions.

    The actions (B, H, D) are normalised, and are the mean of `DRAWS` samples.
    """
    recipe = recipe_of(model_config)
    params = shown(State(params, None, ema), still)
    weights = {name: batch.pop(name) for name in ("text_weight", "flow_weight")}
    number = batch.pop("number")
    batch["images"] = model.pixels(batch["images"], "float32")
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(NOISE_SEED)))(number)

    def prepared(row: Batch, key: Array) -> Batch:
        """Prepares a row with its own flow times and noise, which do not depend on the other rows."""
        alone = losses.prepare({name: x[None] for name, x in row.items()}, key, DRAWS, loss_norm)
        return {name: x[0] for name, x in alone.items()}

    batch = jax.vmap(prepared)(batch, keys) | weights
    total, metrics = losses.compute(params, model_config, batch, alpha)
    shape = (DRAWS, model_config.horizon, model_config.action_dim)
    chunks = jnp.zeros((len(number), *shape[1:]))
    if model_config.flow:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), shape))(keys)
        context = model.run_backbone(params, batch, model_config)

        def sample(noise: Array) -> Array:
            return recipe.act(params, context, noise, batch["embodiment_mask"], model_config, FLOW_STEPS)

        chunks = jnp.mean(jax.vmap(sample, in_axes=1)(noise), axis=0)
    everywhere = NamedSharding(mesh, PartitionSpec())
    number, chunks = (jax.lax.with_sharding_constraint(x, everywhere) for x in (number, chunks))
    return metrics | {"loss": total}, number, chunks
