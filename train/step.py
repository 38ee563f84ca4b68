"""One optimiser step: losses of the parts of a batch, their gradient, the update, the moving average."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from train import augment, losses, model, optim, sharding
from train.config import ModelConfig, TrainConfig

Batch = dict[str, Array]


class State(NamedTuple):
    """All that a step changes. `ema` is the moving average of what learns, None without one."""

    params: model.Params
    optimizer: Any
    ema: Any = None


def begin(params: model.Params, config: TrainConfig, mesh: Mesh) -> State:
    """The state before the first step, on its devices."""
    params = sharding.put_tree(params, mesh)
    moving, _ = optim.split(params, config.optim.freeze)
    optimizer = optim.make(config.optim, config.steps).init(moving)
    ema = jax.tree.map(jnp.copy, moving) if config.optim.ema else None
    return State(params, sharding.put_tree(optimizer, mesh), ema)


def shown(state: State, freeze: tuple[str, ...] = ()) -> model.Params:
    """The parameters that evaluation and export use: the moving average where there is one."""
    return state.params if state.ema is None else optim.merge(state.ema, optim.split(state.params, freeze)[1])


def ready(batch: Batch, step: Array, config: TrainConfig, wrist: tuple[bool, ...], seed: Array | int = 0) -> Batch:
    """A batch as the losses want it; augmentation, times and noise are a function of (seed, step, row)."""
    augmenting, noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    images = model.pixels(batch["images"], "float32")
    if config.augment.on:
        images = augment.augment(augmenting, images, config.augment, wrist)
    return losses.prepare(batch | {"images": images}, noise, config.flow_draws, config.loss_norm)


@partial(jax.jit, static_argnames=("config", "model_config", "mesh", "wrist"), donate_argnames=("state",))
def train_step(
    state: State,
    batch: Batch,
    step: Array,
    seed: Array | int = 0,
    *,
    config: TrainConfig,
    model_config: ModelConfig,
    mesh: Mesh,
    wrist: tuple[bool, ...] = (),
) -> tuple[State, dict[str, Array]]:
    """One step; its randomness is a function of (seed, step), so a resumed run repeats it.

    Args:
        batch: a whole batch (docs/design.md "Training batch"), rows divided over the mesh.
        seed: an argument, not part of what is compiled: the seeds of a study share one program.
        wrist: which camera slots are wrist cameras, whose geometry augmentation leaves alone.
    """
    batch = ready(batch, step, config, wrist, seed)
    moving, still = optim.split(state.params, config.optim.freeze)

    def loss(moving: Any, rows: Batch) -> tuple[Array, losses.Metrics]:
        return losses.compute(optim.merge(moving, still), model_config, rows, config.alpha)

    value = jax.value_and_grad(loss, has_aux=True)
    if config.accumulate == 1:
        (total, metrics), grads = value(moving, batch)
    else:
        (total, metrics), grads = _in_parts(value, moving, batch, config.accumulate, mesh)
    metrics = losses.finish(metrics) | {"loss": total}
    for part in model.parts(grads):
        metrics[f"grad_norm_{part}"] = optax.global_norm(grads[part])
    metrics["learning_rate"] = optim.schedule(config.optim, config.steps)(step - 1)
    updates, optimizer = optim.make(config.optim, config.steps).update(grads, state.optimizer, moving)
    moving = optax.apply_updates(moving, updates)
    ema = state.ema
    if config.optim.ema:
        ema = optax.incremental_update(moving, ema, 1 - config.optim.ema)
    new = State(optim.merge(moving, still), optimizer, ema)
    return jax.lax.with_sharding_constraint(new, sharding.of_tree(new, mesh)), metrics


def _in_parts(value: Any, moving: Any, batch: Batch, parts: int, mesh: Mesh) -> Any:
    """Sums over parts of the batch; row i is in part i mod `parts`, so that every device has rows in each."""

    def cut(x: Array) -> Array:
        cut = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
        rows = jax.sharding.PartitionSpec(None, ("data", "fsdp"))
        return jax.lax.with_sharding_constraint(cut, jax.sharding.NamedSharding(mesh, rows))

    def add(sums: Any, rows: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, value(moving, rows)), None

    split = {name: cut(x) for name, x in batch.items()}
    shapes = jax.eval_shape(value, moving, {name: x[0] for name, x in split.items()})
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, split)[0]


@partial(jax.jit, static_argnames=("config", "model_config", "wrist"))
def probe(
    params: model.Params,
    batch: Batch,
    step: Array,
    seed: Array | int = 0,
    *,
    config: TrainConfig,
    model_config: ModelConfig,
    wrist: tuple[bool, ...] = (),
) -> dict[str, Array]:
    """Each loss's own gradient norm on each part of the model, before clipping: grad_norm_{loss}_{part}."""
    batch = ready(batch, step, config, wrist, seed)
    out: dict[str, Array] = {}
    for loss in ("loss_vlm", "loss_fast", "loss_flow") if model_config.flow else ("loss_vlm", "loss_fast"):
        grads = jax.grad(lambda p, name=loss: losses.compute(p, model_config, batch)[1][name])(params)
        out |= {f"grad_norm_{loss[5:]}_{part}": optax.global_norm(grads[part]) for part in grads}
    return out
