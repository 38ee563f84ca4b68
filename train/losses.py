"""The three losses of knowledge insulation (arXiv 2505.23705, eq. 4), logged apart.

    L = L_VLM + L_FAST + alpha * L_FLOW

L_VLM and L_FAST are the two parts of one cross-entropy: both are divided by the number of all text-loss tokens of the batch.
So the gradient share of each follows its share of tokens. L_FLOW is averaged over all valid (row, step, dimension); a recipe
may have another loss of actions in its place (`train.recipe`).

`prepare` looks at the whole batch (all devices, all microbatches of a step): what every token counts, and every row's flow
times and noise. What `compute` returns are sums, so those of the microbatches add up to those of the whole.
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
LOGITS_AT_ONCE = 1 << 26  # per device
POSITIONS_AT_ONCE = (
    256  # per device; a smaller product is slower, a larger one ends with more positions without a target
)


def token_losses(params: Params, context: Context, batch: Batch, at_once: int | None = None) -> Array:
    """Cross-entropy of each text token given all before it, (B, L) float32; 0 where `loss_mask` is False.

    Each device sorts the targets of its rows to the front; then a few of them at a time, and none once all were there. So logits
    are made only where they are needed, `at_once` of them at most, and made again in the backward pass: a vocabulary of 257k
    takes 0.27 GB instead of 6.6 GB for 32 rows of 200 tokens.

    Args:
        params: the model's parameters.
        context: of `model.run_backbone`.
        batch: a whole batch or a microbatch, of which it reads tokens and loss_mask.
        at_once: most logits in memory, over all devices; None: `LOGITS_AT_ONCE` per device.
    """
    rows, length = batch["loss_mask"].shape
    devices = jax.device_count() if rows % jax.device_count() == 0 else 1
    each = (at_once or LOGITS_AT_ONCE * devices) // (devices * params["backbone"]["embedding"].shape[0])
    mask = batch["loss_mask"].reshape(devices, -1)
    size = max(1, min(mask.shape[1], POSITIONS_AT_ONCE, each))
    chunks = -(-mask.shape[1] // size)
    # Hidden states end with the text; the position before a text token predicts it, and the first follows an image.
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
    """A whole batch with what its rows count, and with flow times and noise of each row.

    Args:
        batch: a whole batch.
        key: draws times and noise.
        draws: flow times per row.
        loss_norm: "tokens" divides the cross-entropy by all text-loss tokens; "samples" takes each row's mean, then that of all
            rows that have such tokens. L_VLM and L_FAST sum to it either way.

    Returns:
        The batch and text_weight, flow_weight (B,), time (B, draws), noise (B, draws, H, D), float32.
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
    """Squared velocity error (B, draws, H, D) float32 of a prepared batch, 0 where `action_mask` is False or a step is given."""

    def one(time: Array, noise: Array) -> Array:
        noisy, target = flow.interpolate(batch["actions"], noise, time)
        error = (velocity(params, context, noisy, time, config) - target) ** 2
        learned = batch["action_mask"] & ((time > 0)[..., None] if time.ndim == 2 else True)
        return jnp.where(learned, error, 0.0)

    return jax.vmap(one, in_axes=1, out_axes=1)(batch["time"], batch["noise"])


def compute(params: Params, config: ModelConfig, batch: Batch, alpha: float = 1.0) -> tuple[Array, Metrics]:
    """Total loss and its terms over a prepared batch, or over some rows of one: then each number is those rows' share.

    Args:
        params: the model's parameters.
        config: the model's shapes.
        batch: of `prepare`. Without `loss_mask` no token losses are built, so at share 0 no backward pass through the backbone.
        alpha: weight of L_FLOW.

    Returns:
        The total, and by name: loss_vlm, loss_fast, loss_flow, their value in the total; n_vlm, n_fast, n_flow, tokens or
        elements; sum_vlm, sum_fast, nats. "flow" is the recipe's word.
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
    """Sums as they are logged: `ce_vlm` and `ce_fast` are per own token, the comparable form of the two cross-entropies."""
    out = {name: value for name, value in metrics.items() if not name.startswith("sum_")}
    return out | {f"ce_{n}": metrics[f"sum_{n}"] / jnp.maximum(metrics[f"n_{n}"], 1) for n in ("vlm", "fast")}
