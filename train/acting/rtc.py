"""Real-time chunking: the policy computes the next chunk while the robot still executes the last one, without a jump between.

    the last chunk    a0 .. | a_k  ...  a_(k+d-1) | ...  a_(H-1)
    the next chunk          | d given, executed   | agrees less and less   | free
                            ^ observation         ^ d steps later the next chunk is ready, and takes over

With training (arXiv 2512.05964): each flow draw of a row draws d from 0..`--rtc-delay`. The model gets the first d actions
without noise, at flow time 0, and they do not count in the loss. So it learns to continue given actions, and acting costs nothing
extra.

Without such training (arXiv 2506.07339, section 3): a gradient through the model steers the velocity towards the last chunk
(pseudoinverse guidance). Time in the papers runs the other way: tau = 1 - t, and their velocity is minus ours.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from fasttok.errors import InputError
from train import losses, model, policy
from train.config import ModelConfig, TrainConfig
from train.model import Batch, Context
from train.params import Params
from train.recipe import recipe_of

if TYPE_CHECKING:  # a training step must need only JAX and optax (benchmarks/train_step.py)
    from train.acting.robots import Robots

GUIDANCE = 5.0  # beta of arXiv 2506.07339, which uses 5 in all its experiments


class Remaining(NamedTuple):
    """The remaining actions of the chunks that are being executed, for B rows.

    Attributes:
        last: (B, H, D) float32, normalised: the remaining actions, from the first step of the next chunk on; 0 after their end.
        length: (B,) int32, the number of remaining steps.
        delay: (B,) int32, how many of them will surely be executed.
    """

    last: Array
    length: Array
    delay: Array


def check(config: TrainConfig, robots: "Robots") -> None:
    """Checks that a run can be trained with its `--rtc-delay`.

    Args:
        config: configuration of the run.
        robots: robots that it is trained on.

    Raises:
        InputError: the recipe has no expert with flow times, or the delay leaves no step of a robot's chunks to learn.
    """
    if not config.rtc_delay:
        return
    if not supported(config.model) or recipe_of(config.model).errors is not losses.flow_errors:
        raise InputError(
            f"--rtc-delay {config.rtc_delay} gives the action expert some of its actions, and recipe {config.model.recipe}, or "
            "a run without flow, has no such expert; leave it 0, or train with --preset ki"
        )
    for robot in robots.robots.values():
        if robot.horizon <= config.rtc_delay:
            raise InputError(
                f"--rtc-delay is {config.rtc_delay}, but chunks of {robot.embodiment} have {robot.horizon} steps, and some have "
                f"to be left to learn; expected at most {robot.horizon - 1}: the steps that pass while a chunk is computed"
            )


def supported(config: ModelConfig) -> bool:
    """Returns whether a model acts with an expert whose flow time may differ from step to step."""
    return config.flow and recipe_of(config).act is policy.integrate


def give_first(batch: Batch, key: Array, most: int) -> Batch:
    """Returns a prepared batch in which each row's first d actions are given; d is uniform in 0..`most` for each flow draw.

    Args:
        batch: batch from `losses.prepare`.
        key: key with which `losses.prepare` drew its times; the same key gives the same d.
        most: largest d.

    Returns:
        The batch with `time` (B, draws, H), which is 0 at given steps, and `flow_weight` (B,), with which the loss is the mean
        over the other steps.
    """
    time, real = batch["time"], batch["action_mask"]
    given = jax.random.randint(jax.random.fold_in(key, 1), time.shape, 0, most + 1)
    noisy = jnp.arange(real.shape[1]) >= given[..., None]
    learned = jnp.sum(noisy[..., None] & real[:, None])
    return batch | {
        "time": jnp.where(noisy, time[..., None], 0.0),
        "flow_weight": jnp.full(len(real), 1.0) / jnp.maximum(learned, 1),
    }


def soft_mask(horizon: int, length: Array, delay: Array) -> Array:
    """Returns how much each step should agree with the last chunk (arXiv 2506.07339, equation 5): (B, H) float32 in [0, 1].

        1                             i < d
        c (e^c - 1) / (e - 1)         d <= i < L,  c = (L - i) / (L - d + 1)
        0                             L <= i

    Args:
        horizon: H, steps of a chunk.
        length: (B,) int, remaining steps of the last chunk (L; the paper's H - s).
        delay: (B,) int, how many of them will surely be executed (d).
    """
    step, left, delay = jnp.arange(horizon), length[:, None], delay[..., None]
    c = (left - step) / (left - delay + 1)
    fading = c * jnp.expm1(c) / (jnp.e - 1)
    return jnp.where(step < left, jnp.where(step < delay, 1.0, fading), 0.0)


def guidance_weight(time: Array) -> Array:
    """Returns the weight of the guidance at flow time t.

    arXiv 2506.07339, equations 2 and 4: min(beta, (1 - tau) / (tau r^2)), r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2). With
    tau = 1 - t, the second term is (t^2 + (1 - t)^2) / (t (1 - t)); the weight at t = 1 is beta.
    """
    tau = 1 - time
    return jnp.minimum(GUIDANCE, (tau**2 + time**2) / jnp.maximum(time * tau, 1e-6))


def guided_velocity(
    params: Params, context: Context, x: Array, time: Array, last: Array, weight: Array, config: ModelConfig
) -> Array:
    """Returns the velocity, steered so that its actions agree with the last chunk: arXiv 2506.07339, equations 2 and 3.

        v' = v - min(beta, ...) (Y - A)^T diag(W) dA/dx      A = x - t v, the actions that the velocity leads to

    Args:
        params: parameters of a model with an expert.
        context: result of `model.run_backbone`.
        x: (B, H, D) noisy actions.
        time: () flow time, 1 = noise.
        last: (B, H, D) the last chunk's remaining actions (Y), from this chunk's first step on.
        weight: (B, H, D) how much they count (W).
        config: the model's shapes.

    Returns:
        (B, H, D) velocity, which points towards noise.
    """

    def clean(x: Array) -> tuple[Array, Array]:
        velocity = model.run_expert(params, context, x, jnp.full(x.shape[0], time), config)
        return x - time * velocity, velocity

    actions, pull, velocity = jax.vjp(clean, x, has_aux=True)
    gradient: Array = pull((last - actions) * weight)[0]
    return velocity - guidance_weight(time) * gradient


@partial(jax.jit, static_argnames=("config", "steps", "trained"))
def continue_actions(
    params: Params,
    config: ModelConfig,
    batch: Batch,
    key: Array,
    left: Remaining,
    *,
    steps: int = 10,
    trained: bool = False,
    noise: Array | None = None,
) -> Array:
    """Samples chunks as `policy.sample_actions` does, but each continues the last chunk of its row.

    Args:
        params: parameters of a model with an expert.
        config: the model's shapes.
        batch: as in `policy.sample_actions`.
        key: draws the noise.
        left: remaining actions of the last chunks.
        steps: number of Euler steps.
        trained: whether the model was trained with `--rtc-delay`, so that it can be given actions; if not, it is guided.
        noise: as in `policy.sample_actions`.

    Returns:
        (B, H, D) float32, normalised; 0 at steps and dimensions that the embodiment does not have. If `trained`, the first
        `delay` steps are those of the last chunk.
    """
    context, (last, length, delay) = model.run_backbone(params, batch, config), left
    real = batch["embodiment_mask"]
    if noise is None:
        noise = jax.random.normal(key, real.shape)
    given = (jnp.arange(config.horizon) < jnp.minimum(length[:, None], delay[..., None]))[..., None]
    weight = jnp.where(real, soft_mask(config.horizon, length, delay)[..., None], 0.0)

    def velocity(params: Params, context: Context, x: Array, time: Array, config: ModelConfig) -> Array:
        if not trained:
            return guided_velocity(params, context, x, time[0], last, weight, config)  # all rows have the same time
        x, time = jnp.where(given, last, x), jnp.where(given[..., 0], 0.0, time[:, None])
        return model.run_expert(params, context, x, time, config)

    x = policy.integrate(params, context, noise, real, config, steps, velocity)
    return jnp.where(real & given, last, x) if trained else x


def checked_prefix(
    prefix: Sequence[NDArray[np.generic]], rows: int, delay: int, horizon: int, dim: int
) -> list[NDArray[np.float32]]:
    """Checks the remaining actions of the chunks that are being executed, and returns them as float32.

    Args:
        prefix: one array (L, D) for each observation.
        rows: number of observations.
        delay: steps that will surely be executed.
        horizon: largest L.
        dim: D, the dimensions of an action.

    Raises:
        InputError: the number of arrays or a shape is wrong, a number is not finite, or the delay is longer than the actions.
    """
    if len(prefix) != rows:
        raise InputError(
            f"prefix contains {len(prefix)} chunks for {rows} observations; expected one (L, {dim}) for each"
        )
    out = []
    for given in prefix:
        actions = np.asarray(given)
        if (
            actions.ndim != 2
            or actions.shape[1] != dim
            or not 1 <= len(actions) <= horizon
            or actions.dtype.kind not in "fiu"
        ):
            raise InputError(
                f"prefix is {actions.dtype} of shape {actions.shape}; expected (L, {dim}), what is left of the chunk being "
                f"executed in raw units, L from 1 to {horizon}"
            )
        if not np.isfinite(actions).all():
            raise InputError("prefix contains numbers that are not finite; expected actions in raw units")
        if not 0 <= delay <= len(actions):
            raise InputError(
                f"delay is {delay}, but {len(actions)} steps are left of the chunk being executed; expected 0 to "
                f"{len(actions)}: the steps that pass until the new chunk is there"
            )
        out.append(actions.astype(np.float32))
    return out
