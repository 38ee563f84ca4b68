"""The optimiser step: losses of a batch or of its microbatches, their gradient, the update and the moving average."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from train import augment, losses, model, optim
from train.acting import rtc
from train.config import ModelConfig, TrainConfig
from train.devices import sharding
from train.learning import expert_first
from train.losses import Metrics
from train.model import Batch
from train.params import Params, components
from train.recipe import recipe_of

LossAndGradient = tuple[tuple[Array, Metrics], Params]


class State(NamedTuple):
    """Everything that a step changes.

    Attributes:
        params: the model's parameters.
        optimizer: optax's moments and counts.
        ema: moving average of the parameters that learn, a tree of `optim.split`; None if the run keeps none.
    """

    params: Params
    optimizer: optax.OptState
    ema: Params | None = None


def begin(params: Params, config: TrainConfig, mesh: Mesh) -> State:
    """Returns the state before the first step, placed on its devices."""
    params = sharding.put_tree(params, mesh)
    moving, _ = optim.split(params, config.still)
    optimizer = optim.make(config.optim, config.steps).init(moving)
    ema = cast(Params, jax.tree.map(jnp.copy, moving)) if config.optim.ema else None
    return State(params, *sharding.put_tree((optimizer, ema), mesh))


def shown(state: State, still: tuple[str, ...] = ()) -> Params:
    """Returns the parameters for evaluation and export: the moving average, if there is one. `still`: `TrainConfig.still`."""
    return state.params if state.ema is None else optim.merge(state.ema, optim.split(state.params, still)[1], still)


def ready(batch: Batch, step: Array, config: TrainConfig, wrist: tuple[bool, ...], seed: Array | int = 0) -> Batch:
    """Prepares a batch for the losses: augments its images and draws times and noise, as a function of (seed, step, row).

    Args:
        batch: a whole batch, images uint8 or in [-1, 1].
        step: () int, from 1.
        config: says how to augment, how many flow times to draw, and what divides the cross-entropy.
        wrist: per camera, whether it is a wrist camera.
        seed: seed of the run.
    """
    augmenting, noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    images = model.pixels(batch["images"], "float32")
    if config.augment.on:
        images = augment.augment(augmenting, images, config.augment, wrist, batch.get("located"))
    batch = losses.prepare(batch | {"images": images}, noise, config.flow_draws, config.loss_norm)
    return rtc.give_first(batch, noise, config.rtc_delay) if config.rtc_delay else batch


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
) -> tuple[State, Metrics]:
    """Takes one step. Its randomness is a function of (seed, step), so a resumed run repeats it.

    Args:
        state: state before the step; its memory is reused.
        batch: a whole batch, rows divided over the mesh.
        step: () int, from 1.
        seed: seed of the run. It is an argument and not compiled in, so that the seeds of a study share one program.
        config: configuration of the run, without what does not change the step (`train.loop.for_step`).
        model_config: the model's shapes; none is left to the shards.
        mesh: the devices.
        wrist: which camera slots are wrist cameras, whose geometry augmentation leaves alone.

    Returns:
        The state after the step, and the numbers to log, () each.
    """
    batch = ready(batch, step, config, wrist, seed)
    moving, still = optim.split(state.params, config.still)

    def loss(moving: Params, rows: Batch) -> tuple[Array, Metrics]:
        return losses.compute(optim.merge(moving, still, config.still), model_config, rows, config.alpha)

    loss_and_gradient: Callable[[Params, Batch], LossAndGradient] = jax.value_and_grad(loss, has_aux=True)
    expert_only = step <= config.optim.expert_first
    if config.optim.expert_first:
        loss_and_gradient = expert_first.either(expert_only, loss)
    if config.accumulate == 1:
        (total, metrics), grads = loss_and_gradient(moving, batch)
    else:
        (total, metrics), grads = _in_microbatches(loss_and_gradient, moving, batch, config.accumulate, mesh)
    metrics = losses.finish(metrics) | {"loss": total}
    for name, gradient in components(grads).items():
        metrics[f"grad_norm_{name}"] = optax.global_norm(gradient)
    metrics["learning_rate"] = optim.schedule(config.optim, config.steps)(step - 1)
    updates, optimizer = optim.make(config.optim, config.steps).update(grads, state.optimizer, moving)
    learned, ema = cast(Params, optax.apply_updates(moving, updates)), state.ema
    if config.optim.ema:
        ema = cast(Params, optax.incremental_update(learned, ema, 1 - config.optim.ema))
    if config.optim.expert_first:
        before = (moving, state.optimizer, state.ema)
        learned, optimizer, ema = expert_first.held(expert_only, (learned, optimizer, ema), before)
    new = State(optim.merge(learned, still, config.still), optimizer, ema)
    return cast(State, jax.lax.with_sharding_constraint(new, sharding.of_tree(new, mesh))), metrics


def _in_microbatches(
    loss_and_gradient: Callable[[Params, Batch], LossAndGradient], moving: Params, batch: Batch, count: int, mesh: Mesh
) -> LossAndGradient:
    """Sums losses and gradients over microbatches. Row i is in microbatch i mod `count`, so each device has rows in every one."""

    def cut(x: Array) -> Array:
        rows = x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)
        where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, ("data", "fsdp")))
        return cast(Array, jax.lax.with_sharding_constraint(rows, where))

    def add(sums: LossAndGradient, rows: Batch) -> tuple[LossAndGradient, None]:
        return jax.tree.map(jnp.add, sums, loss_and_gradient(moving, rows)), None

    microbatches = {name: cut(x) for name, x in batch.items()}
    shapes = jax.eval_shape(loss_and_gradient, moving, {name: x[0] for name, x in microbatches.items()})
    zeros: LossAndGradient = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, microbatches)[0]


@partial(jax.jit, static_argnames=("config", "model_config", "wrist"))
def probe(
    params: Params,
    batch: Batch,
    step: Array,
    seed: Array | int = 0,
    *,
    config: TrainConfig,
    model_config: ModelConfig,
    wrist: tuple[bool, ...] = (),
) -> Metrics:
    """Returns each loss's own gradient norm on each component of the model, before clipping: grad_norm_{loss}_{component}.

    Args:
        params: the model's parameters.
        batch: as in `train_step`, like the arguments below.
        step: () int, from 1.
        seed: seed of the run.
        config: configuration of the run.
        model_config: the model's shapes.
        wrist: which camera slots are wrist cameras.
    """
    batch = ready(batch, step, config, wrist, seed)
    out: Metrics = {}
    moving, still = optim.split(params, config.lora.adapted)

    def one(moving: Params, name: str) -> Array:
        return losses.compute(optim.merge(moving, still), model_config, batch)[1][name]

    for loss in ("loss_vlm", "loss_fast", *([f"loss_{recipe_of(model_config).loss}"] if model_config.flow else [])):
        grads: Params = jax.grad(one)(moving, loss)
        out |= {f"grad_norm_{loss[5:]}_{name}": optax.global_norm(tree) for name, tree in components(grads).items()}
    return out
