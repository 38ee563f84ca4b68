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


def token_losses(params: model.Params, context: model.Context, batch: dict[str, Array]) -> Array:
    """Cross-entropy of each text token given all before it, (B, L) float32; 0 where `loss_mask` is False."""
    length = batch["tokens"].shape[1]
    before = context.hidden[:, -length - 1 : -1]  # the position before each text token; the first follows an image
    scores = model.logits(params, before)
    right = jnp.take_along_axis(scores, batch["tokens"][..., None], axis=-1)[..., 0]
    return jnp.where(batch["loss_mask"], jax.nn.logsumexp(scores, axis=-1) - right, 0.0)


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
) -> tuple[Array, Metrics]:
    """Total loss and its parts over a training batch (docs/design.md "Training batch").

    Args:
        alpha: weight of L_FLOW.
        flow_draws: flow times per row; each costs one pass of the small expert and lowers the variance.

    Returns:
        (total, {loss_vlm, loss_fast, loss_flow: their value in the total; n_vlm, n_fast, n_flow: tokens or elements}).
        `ce_vlm` and `ce_fast` are per own token, the comparable form of the two cross-entropies.
    """
    context = model.run_backbone(params, batch, config)
    losses = token_losses(params, context, batch)
    fast = batch["is_fast"][:, None]
    counts = {"n_vlm": jnp.sum(batch["loss_mask"] & ~fast), "n_fast": jnp.sum(batch["loss_mask"] & fast)}
    tokens = jnp.maximum(counts["n_vlm"] + counts["n_fast"], 1)
    vlm, fast_sum = jnp.sum(jnp.where(fast, 0.0, losses)), jnp.sum(jnp.where(fast, losses, 0.0))
    metrics: dict[str, Any] = {
        "loss_vlm": vlm / tokens,
        "loss_fast": fast_sum / tokens,
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
