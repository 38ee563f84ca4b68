"""The three losses of knowledge insulation (arXiv 2505.23705, eq. 4), logged apart.

    L = L_VLM + L_FAST + alpha * L_FLOW

L_VLM and L_FAST are the two parts of one cross-entropy with one denominator, all text-loss tokens of the batch, and sum to
it; so the gradient share of each follows its share of tokens. L_FLOW is averaged over all valid (row, step, dimension).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from train import flow, model
from train.config import ModelConfig

Metrics = dict[str, Array]
LOGITS_AT_ONCE = 1 << 26


def token_losses(
    params: model.Params, context: model.Context, batch: dict[str, Array], at_once: int = LOGITS_AT_ONCE
) -> Array:
    """Cross-entropy of each text token given all before it, (B, L) float32; 0 where `loss_mask` is False.

    Rows are shifted so that their first target comes first; then a few positions of all rows at a time, and none where no row has
    a target. So logits are made only where they are needed, `at_once` of them at most, and made again in the backward pass: a
    vocabulary of 257k takes 0.27 GB instead of 6.6 GB for 32 rows of 200 tokens.
    """
    mask = batch["loss_mask"]
    rows, length = mask.shape
    size = max(1, min(length, at_once // (rows * params["backbone"]["embedding"].shape[0])))
    chunks = -(-length // size)
    place = jnp.argmax(mask, axis=1, keepdims=True) + jnp.arange(chunks * size)
    inside = place < length
    place = jnp.minimum(place, length - 1)
    wanted = jnp.take_along_axis(mask, place, axis=1) & inside

    @jax.checkpoint
    def losses(before: Array, tokens: Array) -> Array:
        scores = model.logits(params, before)
        right = jnp.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(scores, axis=-1) - right

    def some(_: None, at: tuple[Array, Array]) -> tuple[None, Array]:
        place, wanted = at
        # Hidden states end with the text; the position before a text token predicts it, and the first follows an image.
        before = jnp.take_along_axis(
            context.hidden, (context.hidden.shape[1] - length - 1 + place)[..., None], axis=1, mode="clip"
        )
        tokens = jnp.take_along_axis(batch["tokens"], place, axis=1)
        found = jax.lax.cond(wanted.any(), losses, lambda *_: jnp.zeros(place.shape, jnp.float32), before, tokens)
        return None, jnp.where(wanted, found, 0.0)

    def split(x: Array) -> Array:
        return x.reshape(rows, chunks, size).swapaxes(0, 1)

    _, found = jax.lax.scan(some, None, (split(place), split(wanted)))
    spread = found.swapaxes(0, 1).reshape(rows, -1)
    return jnp.zeros((rows, length), jnp.float32).at[jnp.arange(rows)[:, None], place].add(spread)


def token_weights(mask: Array, loss_norm: str) -> Array:
    """What a text-loss token counts in the cross-entropy, () or (B, 1) float32: 1 / tokens, or 1 / (rows x the row's tokens)."""
    per_row = jnp.sum(mask, axis=1, keepdims=True)
    if loss_norm == "tokens":
        return 1.0 / jnp.maximum(jnp.sum(per_row), 1).astype(jnp.float32)
    rows = jnp.maximum(jnp.sum(per_row > 0), 1)
    return 1.0 / (rows * jnp.maximum(per_row, 1)).astype(jnp.float32)


def flow_errors(
    params: model.Params, context: model.Context, batch: dict[str, Array], key: Array, config: ModelConfig, draws: int
) -> Array:
    """Squared velocity error (draws, B, H, D) float32, 0 where `action_mask` is False; each draw has its own t and noise."""
    actions = batch["actions"]
    time_key, noise_key = jax.random.split(key)
    times = flow.sample_time(time_key, (draws, actions.shape[0]))
    noises = jax.random.normal(noise_key, (draws, *actions.shape))

    def one(time: Array, noise: Array) -> Array:
        noisy, target = flow.interpolate(actions, noise, time)
        error = (model.run_expert(params, context, noisy, time, config) - target) ** 2
        return jnp.where(batch["action_mask"], error, 0.0)

    return jax.vmap(one)(times, noises)


def compute(
    params: model.Params,
    config: ModelConfig,
    batch: dict[str, Array],
    key: Array,
    *,
    alpha: float = 1.0,
    flow_draws: int = 1,
    loss_norm: str = "tokens",
) -> tuple[Array, Metrics]:
    """Total loss and its parts over a training batch (docs/design.md "Training batch").

    Args:
        alpha: weight of L_FLOW.
        loss_norm: "tokens" divides the cross-entropy by all text-loss tokens; "samples" takes each row's mean, then that of all
            rows that have such tokens. L_VLM and L_FAST sum to it either way.
        flow_draws: flow times per row; each costs one pass of the small expert and lowers the variance.

    Returns:
        (total, {loss_vlm, loss_fast, loss_flow: their value in the total; n_vlm, n_fast, n_flow: tokens or elements}).
        `ce_vlm` and `ce_fast` are per own token, the comparable form of the two cross-entropies.
    """
    context = model.run_backbone(params, batch, config)
    losses = token_losses(params, context, batch)
    fast = batch["is_fast"][:, None]
    counts = {"n_vlm": jnp.sum(batch["loss_mask"] & ~fast), "n_fast": jnp.sum(batch["loss_mask"] & fast)}
    vlm, fast_sum = jnp.sum(jnp.where(fast, 0.0, losses)), jnp.sum(jnp.where(fast, losses, 0.0))
    weight = token_weights(batch["loss_mask"], loss_norm)
    metrics: dict[str, Any] = {
        "loss_vlm": jnp.sum(jnp.where(fast, 0.0, losses * weight)),
        "loss_fast": jnp.sum(jnp.where(fast, losses * weight, 0.0)),
        "ce_vlm": vlm / jnp.maximum(counts["n_vlm"], 1),
        "ce_fast": fast_sum / jnp.maximum(counts["n_fast"], 1),
        **counts,
    }
    total = metrics["loss_vlm"] + metrics["loss_fast"]
    if config.flow:
        errors = flow_errors(params, context, batch, key, config, flow_draws)
        metrics["n_flow"] = jnp.sum(batch["action_mask"])
        metrics["loss_flow"] = jnp.sum(errors) / (flow_draws * jnp.maximum(metrics["n_flow"], 1))
        total = total + alpha * metrics["loss_flow"]
    return total, metrics
