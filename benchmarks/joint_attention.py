"""The model as openpi shapes it: one masked softmax a layer over all tokens, backbone's and expert's, on the same parameters.

openpi's Gemma (src/openpi/models/gemma.py) runs all streams through each layer side by side and concatenates their queries, keys
and values for a single attention. Insulation does not fit into one such call as it stands, because a key's gradient would have to
depend on who asks; it does when the backbone's keys are there twice, once without gradient, for the expert. Written to compare
with `train.model`, which computes the same numbers in two calls.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from train import flow, gemma, insulation, losses, model
from train.config import ModelConfig
from train.params import Linear, Params

Batch = dict[str, Array]


def forward(
    params: Params, batch: Batch, noisy: Array, time: Array, config: ModelConfig
) -> tuple[model.Context, Array]:
    """What the text loss needs of the backbone, and the velocity (B, H, D), in one pass over all tokens.

    Args:
        params: of the whole model.
        batch: a training batch.
        noisy: (B, H, D) actions with noise.
        time: (B,) flow time.
        config: insulation must be 0 or 1 in all layers.
    """
    insulated = not any(config.shares)
    expert, horizon = params["expert"], noisy.shape[1]
    x, valid, causal = model.embed(params, batch, config)
    cond = flow.time_embedding(time, config.expert_width)
    for linear in (expert["time_in"], expert["time_out"]):
        cond = jax.nn.swish(_linear(cond, linear))
    y = _linear(noisy, expert["action_in"]).astype(config.dtype)
    size = x.shape[1]
    places = insulation.backbone_positions(valid), insulation.expert_positions(valid, causal, horizon)
    nothing = jnp.zeros((x.shape[0], size, horizon), bool)
    own, acting = insulation.backbone_mask(valid, causal), insulation.expert_mask(valid, causal, horizon)
    if insulated:  # keys: backbone, backbone without gradient, expert
        blind = jnp.zeros((x.shape[0], horizon, size), bool)
        mask = jnp.concatenate(
            [
                jnp.concatenate([own, jnp.zeros_like(own), nothing], axis=-1),
                jnp.concatenate([blind, acting], axis=-1),
            ],
            axis=1,
        )
    else:
        mask = jnp.concatenate([jnp.concatenate([own, nothing], axis=-1), acting], axis=1)

    def layer(streams: tuple[Array, Array], both: tuple[Any, Any]) -> tuple[tuple[Array, Array], None]:
        (x, y), (p, q) = streams, both
        seen = gemma.project(gemma.rms_norm(x, p["attention_norm"]), p, places[0])
        normed, gate = gemma.ada_rms_norm(y, cond, q["attention_norm"])
        acted = gemma.project(normed, q, places[1])
        query = jnp.concatenate([seen[0], acted[0]], axis=1)
        repeated = [jax.lax.stop_gradient(seen[1:])] if insulated else []
        key, value = (jnp.concatenate(parts, axis=1) for parts in zip(seen[1:], *repeated, acted[1:], strict=True))
        out = gemma.attend(query, key, value, mask, config.attention)
        x = x + gemma.merge_heads(out[:, :size], p)
        y = y + gate * gemma.merge_heads(out[:, size:], q)
        x = x + gemma.feed_forward(gemma.rms_norm(x, p["mlp_norm"]), p)
        normed, gate = gemma.ada_rms_norm(y, cond, q["mlp_norm"])
        return (x, y + gate * gemma.feed_forward(normed, q)), None

    stacked = params["backbone"]["layers"], expert["layers"]
    streams: Any = (x, y)
    (x, y), _ = gemma.run_layers(layer, streams, stacked, config.depth, config.remat)
    hidden = gemma.rms_norm(x, params["backbone"]["norm"])
    y, _ = gemma.ada_rms_norm(y, cond, expert["norm"])
    velocity = _linear(y.astype(jnp.float32), expert["action_out"])
    unused = jnp.zeros(0)
    return model.Context(hidden, unused, unused, valid, causal), velocity


def loss(params: Params, config: ModelConfig, batch: Batch) -> Array:
    """The total of `losses.compute` with one flow draw, of a prepared batch."""
    noisy, target = flow.interpolate(batch["actions"], batch["noise"][:, 0], batch["time"][:, 0])
    context, velocity = forward(params, batch, noisy, batch["time"][:, 0], config)
    text = jnp.sum(losses.token_losses(params, context, batch) * batch["text_weight"][:, None])
    errors = jnp.where(batch["action_mask"], (velocity - target) ** 2, 0.0)
    return text + jnp.sum(errors * batch["flow_weight"][:, None, None])


def _linear(x: Array, p: Linear) -> Array:
    return x @ p["kernel"] + p["bias"]
