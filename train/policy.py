"""Samples actions and generates text: Euler flow sampling and autoregressive decoding, both over cached keys and values."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from train import gemma, model
from train.config import ModelConfig
from train.model import Batch, Context
from train.params import Layers, Params
from train.recipe import recipe_of


@partial(jax.jit, static_argnames=("config", "steps"))
def sample_actions(
    params: Params, config: ModelConfig, batch: Batch, key: Array, steps: int = 10, noise: Array | None = None
) -> Array:
    """Samples action chunks in the way of the recipe, usually by Euler integration of the flow from t = 1 (noise) to t = 0.

    The backbone runs once. Steps and dimensions that an embodiment does not have were never trained, but `action_in` mixes
    dimensions. So at every Euler step they are set to t * noise, which is what training showed for an action of 0.

    Args:
        params: the model's parameters, with those that the recipe acts with.
        config: the model's shapes.
        batch: prefix only, or with a suffix (the expert does not see it); with `embodiment_mask` (B, H, D) bool.
        key: draws the noise.
        steps: number of Euler steps.
        noise: (B, H, D) noise to begin with, if each row draws its own; None: `key` draws it.

    Returns:
        (B, H, D) float32, normalised; 0 in steps and dimensions that the embodiment does not have.
    """
    context = model.run_backbone(params, batch, config)
    if noise is None:
        noise = jax.random.normal(key, (batch["tokens"].shape[0], config.horizon, config.action_dim))
    return recipe_of(config).act(params, context, noise, batch["embodiment_mask"], config, steps)


def integrate(
    params: Params,
    context: Context,
    noise: Array,
    real: Array,
    config: ModelConfig,
    steps: int,
    velocity: model.Velocity = model.run_expert,
) -> Array:
    """Integrates the flow with Euler steps, from noise at t = 1 to actions at t = 0.

    Args:
        params: the model's parameters, with those that `velocity` needs.
        context: result of `model.run_backbone`.
        noise: (B, H, D).
        real: (B, H, D) bool, the batch's `embodiment_mask`.
        config: the model's shapes.
        steps: number of Euler steps.
        velocity: computes the velocity of noisy chunks, as `model.run_expert` does.

    Returns:
        As in `sample_actions`.
    """

    def euler(x: Array, t: Array) -> tuple[Array, None]:
        x = jnp.where(real, x, t * noise)
        return x - velocity(params, context, x, jnp.full(noise.shape[0], t), config) / steps, None

    x, _ = jax.lax.scan(euler, jnp.asarray(noise), 1.0 - jnp.arange(steps) / steps)
    return jnp.where(real, x, 0.0)


@partial(jax.jit, static_argnames=("config", "room"))
def _prefill(params: Params, config: ModelConfig, batch: Batch, room: int) -> tuple[Array, Array, Array, Array]:
    """Returns logits after the prefix, keys and values with `room` free places, and which places have a valid token."""
    prefix = dict(batch, token_mask=batch["token_mask"] & ~batch["token_ar"])
    context = recipe_of(config).prefill(params, prefix, config)
    s = context.valid.shape[1]
    last = s - 1 - jnp.argmax(context.valid[:, ::-1], axis=1)
    hidden = jnp.take_along_axis(context.hidden, last[:, None, None], axis=1)[:, 0]
    grow = ((0, 0), (0, 0), (0, room), (0, 0))
    valid = jnp.pad(context.valid, ((0, 0), (0, room)))
    return model.logits(params, hidden), jnp.pad(context.keys, grow), jnp.pad(context.values, grow), valid


@partial(jax.jit, static_argnames=("config",), donate_argnames=("keys", "values"))
def _decode_step(
    params: Params, config: ModelConfig, token: Array, at: Array, keys: Array, values: Array, valid: Array
) -> tuple[Array, Array, Array, Array]:
    """Feeds one token per row into place `at` of the cache; returns the next logits and the updated cache."""
    positions = jnp.sum(valid, axis=1, keepdims=True)
    valid = valid.at[:, at].set(True)
    x = model.embed_text(params, token[:, None], config)

    def layer(x: Array, inputs: tuple[Layers[Array], Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        p, key_cache, value_cache = inputs
        query, key, value = gemma.project(gemma.rms_norm(x, p["attention_norm"]), p, positions)
        key_cache = jax.lax.dynamic_update_slice_in_dim(key_cache, key, at, axis=1)
        value_cache = jax.lax.dynamic_update_slice_in_dim(value_cache, value, at, axis=1)
        x = x + gemma.merge_heads(gemma.attend(query, key_cache, value_cache, valid[:, None, :], config.attention), p)
        return x + gemma.feed_forward(gemma.rms_norm(x, p["mlp_norm"]), p), (key_cache, value_cache)

    x, (keys, values) = jax.lax.scan(layer, x, (params["backbone"]["layers"], keys, values))
    return model.logits(params, gemma.rms_norm(x, params["backbone"]["norm"])[:, 0]), keys, values, valid


def generate(
    params: Params,
    config: ModelConfig,
    batch: Mapping[str, Array | NDArray[Any]],
    max_tokens: int,
    eos_id: int,
    allowed: Callable[[int, list[int]], NDArray[np.int64]] | None = None,
    temperature: float = 0.0,
    rng: np.random.Generator | Sequence[np.random.Generator] | None = None,
) -> list[list[int]]:
    """Generates text or action tokens after each row's prefix.

    Args:
        params: the model's parameters.
        config: the model's shapes.
        batch: a batch; of its tokens, only the prefix (`token_ar` False) is read.
        max_tokens: largest number of new tokens per row.
        eos_id: id that ends a row; it is not returned.
        allowed: (row, ids so far) -> sorted ids that may come next; an empty array ends the row. None allows all.
        temperature: 0 takes the likeliest token, 1 samples from the model's distribution (over what is allowed) and needs `rng`.
        rng: draws the samples; or one generator for each row, so that the samples of a row do not depend on the other rows.

    Returns:
        One list of token ids per row, at most `max_tokens` long.
    """
    scores, keys, values, valid = _prefill(params, config, batch, max_tokens)
    start = valid.shape[1] - max_tokens
    rows: list[list[int]] = [[] for _ in range(scores.shape[0])]
    open_rows = set(range(len(rows)))
    for step in range(max_tokens):
        table = np.asarray(scores)
        token = np.full(len(rows), eos_id, np.int32)
        for row in sorted(open_rows):
            choices = None if allowed is None else allowed(row, rows[row])
            if choices is not None and len(choices) == 0:
                open_rows.discard(row)
                continue
            candidates = table[row] if choices is None else table[row][choices]
            if temperature:  # the largest of scores with Gumbel noise is a sample of their softmax
                assert rng is not None, "sampling needs rng"
                draws = rng if isinstance(rng, np.random.Generator) else rng[row]
                candidates = candidates / temperature + draws.gumbel(size=candidates.shape)
            best = candidates.argmax() if choices is None else choices[candidates.argmax()]
            if best == eos_id:
                open_rows.discard(row)
                continue
            token[row] = best
            rows[row].append(int(best))
        if not open_rows or step == max_tokens - 1:
            break
        scores, keys, values, valid = _decode_step(
            params, config, jnp.asarray(token), jnp.int32(start + step), keys, values, valid
        )
    return rows
