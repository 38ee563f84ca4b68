"""The three losses of knowledge insulation (arXiv 2505.23705, eq. 4), which are logged separately.

    L = L_VLM + L_FAST + alpha * L_FLOW

L_VLM and L_FAST are the two parts of one cross-entropy: both are divided by the number of all text-loss tokens of the batch.
So the gradient share of each follows its share of tokens. L_FLOW is averaged over all valid (row, step, dimension); a recipe
may have another loss of actions in its place (`train.recipe`).

`prepare` sees the whole batch (all devices, all microbatches of a step). It computes how much the tokens of each row count, and
draws each row's flow times and noise. `compute` returns sums, so the sums of the microbatches add up to that of the whole batch.
"""

import jax
import jax.numpy as jnp
from jax import Array

from train import flow, model
from train.config import LossNorm, ModelConfig
from train.devices import packing
from train.model import Batch, Context
from train.params import Params
from train.recipe import recipe_of

Metrics = dict[str, Array]
LOGITS_AT_ONCE = 1 << 26  # most logits in memory, per device
POSITIONS_AT_ONCE = (
    256  # per device; with fewer, products are slower; with more, the last product has more positions without a target
)


def token_losses(params: Params, context: Context, batch: Batch, at_once: int | None = None) -> Array:
    """Returns the cross-entropy of each text token given all tokens before it, (B, L) float32; 0 where `loss_mask` is False.

    Each device sorts the positions with a target to the front. It then computes the logits of a few positions at a time, and none
    for positions without a target at the end. So at most `at_once` logits are in memory; the backward pass computes them again.
    For 32 rows of 200 tokens and a vocabulary of 257k, this takes 0.27 GB instead of 6.6 GB.

    Args:
        params: the model's parameters.
        context: result of `model.run_backbone`.
        batch: a whole batch or a microbatch; tokens, loss_mask and, if it is packed, the places of its tokens are read.
        at_once: most logits in memory, over all devices; None: `LOGITS_AT_ONCE` per device.
    """
    rows, length = batch["loss_mask"].shape
    devices = jax.device_count() if rows % jax.device_count() == 0 else 1
    each = (at_once or LOGITS_AT_ONCE * devices) // (devices * params["backbone"]["embedding"].shape[0])
    mask = batch["loss_mask"].reshape(devices, -1)
    size = max(1, min(mask.shape[1], POSITIONS_AT_ONCE, each))
    chunks = -(-mask.shape[1] // size)
    # The hidden states end with those of the text. The position before a token predicts it; before the first one is an image.
    before = jnp.arange(rows // devices)[:, None] * context.hidden.shape[1] + jnp.arange(length)
    before = jnp.maximum(before.ravel() + context.hidden.shape[1] - length - 1, 0)
    if packing.PLACE in batch:
        before = jnp.maximum(batch[packing.PLACE].ravel() - 1, 0)
    order = jnp.argsort(~mask, axis=1, stable=True)

    def sorted_(x: Array, at: Array) -> Array:
        x = jnp.take_along_axis(
            x.reshape(devices, -1, *x.shape[2:]), at.reshape(*at.shape, *(1,) * (x.ndim - 2)), axis=1
        )
        x = jnp.pad(x, ((0, 0), (0, chunks * size - x.shape[1]), *((0, 0),) * (x.ndim - 2)))
        return x.reshape(devices, chunks, size, *x.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def losses(before: Array, tokens: Array) -> Array:
        scores = model.logits(params, before)
        right = jnp.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(scores, axis=-1) - right

    def some(_: None, at: tuple[Array, Array, Array]) -> tuple[None, Array]:
        before, tokens, wanted = at
        chunk = jax.lax.cond(wanted.any(), losses, lambda *_: jnp.zeros(tokens.shape, jnp.float32), before, tokens)
        return None, jnp.where(wanted, chunk, 0.0)

    inputs = sorted_(context.hidden, before[order]), sorted_(batch["tokens"], order), sorted_(batch["loss_mask"], order)
    _, by_chunk = jax.lax.scan(some, None, inputs)
    spread = by_chunk.swapaxes(0, 1).reshape(devices, -1)[:, : mask.shape[1]]
    return jnp.take_along_axis(spread, jnp.argsort(order, axis=1), axis=1).reshape(rows, length)


def prepare(batch: Batch, key: Array, draws: int, loss_norm: LossNorm) -> Batch:
    """Adds to a whole batch how much its rows count in the losses, and flow times and noise for each row.

    Args:
        batch: a whole batch.
        key: draws times and noise.
        draws: flow times per row.
        loss_norm: "tokens" divides the cross-entropy by the number of all text-loss tokens; "samples" averages over the tokens of
            each row, then over the rows that have such tokens. Either way, L_VLM and L_FAST add up to the whole cross-entropy.

    Returns:
        The batch with text_weight (B,), flow_weight (B,), time (B, draws) and noise (B, draws, H, D), all float32.
    """
    per_row = jnp.sum(batch["loss_mask"], axis=1) if "loss_mask" in batch else jnp.zeros(len(batch["is_action"]))
    if loss_norm == "tokens":
        text = jnp.full(per_row.shape, 1.0) / jnp.maximum(jnp.sum(per_row), 1)
    else:
        text = 1.0 / (jnp.maximum(jnp.sum(per_row > 0), 1) * jnp.maximum(per_row, 1))
    time_key, noise_key = jax.random.split(key)
    rows, *chunk = batch["actions"].shape
    return batch | {
        "text_weight": text.astype(jnp.float32),
        "flow_weight": jnp.full(rows, 1.0) / (draws * jnp.maximum(jnp.sum(batch["action_mask"]), 1)),
        "time": flow.sample_time(time_key, (rows, draws)),
        "noise": jax.random.normal(noise_key, (rows, draws, *chunk)),
    }


def flow_errors(
    params: Params, context: Context, batch: Batch, config: ModelConfig, velocity: model.Velocity = model.run_expert
) -> Array:
    """Returns the squared velocity errors of a prepared batch, (B, draws, H, D) float32.

    They are 0 where `action_mask` is False, and at steps that are given to the model (`train.acting.rtc`).
    """

    def one(time: Array, noise: Array) -> Array:
        noisy, target = flow.interpolate(batch["actions"], noise, time)
        error = (velocity(params, context, noisy, time, config) - target) ** 2
        learned = batch["action_mask"] & ((time > 0)[..., None] if time.ndim == 2 else True)
        return jnp.where(learned, error, 0.0)

    return jax.vmap(one, in_axes=1, out_axes=1)(batch["time"], batch["noise"])


def compute(params: Params, config: ModelConfig, batch: Batch, alpha: float = 1.0) -> tuple[Array, Metrics]:
    """Computes the total loss and its terms for a prepared batch. For some rows of it, they are these rows' part of the sums.

    Args:
        params: the model's parameters.
        config: the model's shapes.
        batch: result of `prepare`, or some of its rows. Without `loss_mask` no token losses are computed; with insulation 0
            there is then no backward pass through the backbone.
        alpha: weight of L_FLOW.

    Returns:
        The total, and numbers by name: loss_vlm, loss_fast and loss_flow, the terms of the total (loss_flow before it is
        multiplied by `alpha`); n_vlm, n_fast and n_flow, how many tokens or elements they are of; sum_vlm and sum_fast, in nats.
        A recipe may have another word for "flow" (`Recipe.loss`).
    """
    recipe = recipe_of(config)
    context = (packing.run_backbone if packing.PLACE in batch else recipe.run)(params, batch, config)
    text = "loss_mask" in batch
    mask = batch["loss_mask"] if text else jnp.zeros((len(batch["is_action"]), 1), bool)
    losses = token_losses(params, context, batch) if text else jnp.zeros(mask.shape)
    metrics: Metrics = {}
    for name, rows in (("vlm", ~batch["is_action"]), ("fast", batch["is_action"])):
        mine = jnp.where(rows[:, None], losses, 0.0)
        metrics[f"loss_{name}"] = jnp.sum(mine * batch["text_weight"][:, None])
        metrics[f"sum_{name}"] = jnp.sum(mine)
        metrics[f"n_{name}"] = jnp.sum(mask & rows[:, None])
    total = metrics["loss_vlm"] + metrics["loss_fast"]
    if config.flow:
        acting = packing.acting(batch)
        errors = recipe.errors(params, context, acting, config)
        metrics[f"loss_{recipe.loss}"] = jnp.sum(errors * acting["flow_weight"][:, None, None, None])
        metrics[f"n_{recipe.loss}"] = jnp.sum(batch["action_mask"])
        total = total + alpha * metrics[f"loss_{recipe.loss}"]
    return total, metrics


def finish(metrics: Metrics) -> Metrics:
    """Turns sums into the numbers to log. `ce_vlm` and `ce_fast` are means over each loss's own tokens, to compare them."""
    out = {name: value for name, value in metrics.items() if not name.startswith("sum_")}
    return out | {f"ce_{n}": metrics[f"sum_{n}"] / jnp.maximum(metrics[f"n_{n}"], 1) for n in ("vlm", "fast")}
