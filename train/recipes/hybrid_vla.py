"""HybridVLA: discrete tokens may see the noised actions (arXiv 2503.10631, section 3.2; compared in arXiv 2505.23705).

    L = L_VLM + L_FAST + alpha * L_FLOW                            HybridVLA, section 3.2: L_hybrid = L_dif + L_ce
    log p(s_j | prefix, x_t, t, s_1 ... s_j-1)                     ki has only the prefix and s_1 ... s_j-1 as conditions

The noised actions are between the prompt and the suffix. The expert's tokens see what they see under `ki`; the tokens of the
suffix also see the expert's tokens. The mask of a row (image i, prompt p, suffix s, padding -, expert a):

         i p p s s -  a a
    i    x x x . . .  . .
    p    x x x . . .  . .
    p    x x x . . .  . .
    s    x x x x . .  x x      The row of a question or a caption has no actions, so its suffix sees none and keeps its
    s    x x x x x .  x x      positions. In an action row, the suffix has the positions after the expert's tokens.
    -    . . . . . .  . .
    a    x x x . . .  x x
    a    x x x . . .  x x

So x_t contains information about the very actions that the tokens must predict; the nearer t is to 1 (noise), the less of it. The
first token of the suffix is predicted by a prompt token, which sees no actions. The gradient of L_FAST reaches the expert through
the expert's keys and values, in full. The gradient of L_FLOW reaches the backbone through the prefix's keys and values, times
`--model.insulation`, which is 1 in the preset, as in HybridVLA. If a row has several flow times, the tokens see the first.

At inference the tokens see pure noise at t = 1. They saw almost the same in training whenever t was near 1, where its
distribution is densest (`flow.sample_time`). Pure noise says nothing about the actions, so the tokens are drawn from
p(s | prefix). HybridVLA does the same: its code decodes tokens beside pure noise (github.com/PKU-HMI-Lab/Hybrid-VLA,
models/vlas/hybridvla.py), but at a random t. Here the noise is drawn once and is the same for all rows and calls, so that
`--decode tokens` stays repeatable. Keys and values of these expert tokens are cached with those of the prefix. `--decode flow` is
as under `ki`.

Kept: the order (prompt, noised actions, tokens), the mask, and both losses in one pass.

Different:
- In HybridVLA one LLM denoises and decodes. Here the expert denoises, so this recipe differs from `joint` in the mask alone.
  (train/recipes/transfusion.py has shared weights.)
- Flow matching in place of DDPM, and FAST tokens in place of bins.
- No special tokens mark where noised actions begin and end.
- The two kinds of predictions are not averaged by confidence (section 3.3).
"""

from dataclasses import replace
from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from fasttok.errors import InputError
from train import flow, gemma, insulation, losses, model
from train.config import ModelConfig, TrainConfig
from train.costs import flops
from train.model import Batch, Context
from train.params import Layers, Linear, Params
from train.recipes.insulated import RECIPE as INSULATED


def hybrid_mask(valid: Array, causal: Array, actions: Array) -> Array:
    """Returns what backbone tokens see: as in `insulation.backbone_mask`, but the suffix also sees the row's expert tokens.

    Args:
        valid: (B, S) bool, as in `insulation.backbone_mask`.
        causal: (B, S) bool, as in `insulation.backbone_mask`.
        actions: (B, T) bool, which expert tokens the row has.

    Returns:
        (B, S, S + T) bool, [b, query, key].
    """
    seen = (valid & causal)[:, :, None] & actions[:, None, :]
    return jnp.concatenate([insulation.backbone_mask(valid, causal), seen], axis=-1)


def side_by_side(
    params: Params, batch: Batch, noisy: Array, time: Array, config: ModelConfig
) -> tuple[Context, tuple[Array, Array, Array]]:
    """Runs backbone and expert together, layer by layer: in each layer, the suffix sees the expert's keys and values.

    Args:
        params: the model's parameters, with an expert.
        batch: a batch; its arrays of tokens, images and states are read, and `is_action`: whether a row has actions.
        noisy: (B, H, D) x_t.
        time: (B,) flow time, 1 = noise.
        config: the model's shapes.

    Returns:
        The context, with velocity; and of the expert's T tokens: keys (L, B, T, head_dim), values (L, B, T, head_dim), and
        whether each row has the token, (B, T) bool.
    """
    x, valid, causal = model.embed(params, batch, config)
    expert = params["expert"]
    state = (batch["state"], batch["state_mask"]) if config.state_token == "expert" else None
    y, cond = model.embed_actions(expert, noisy, time, state, config)
    tokens, horizon = y.shape[1], noisy.shape[1]
    actions = jnp.repeat(batch["is_action"][:, None], tokens, axis=1)
    if state is not None:
        actions = actions.at[:, 0].set(actions[:, 0] & state[1])
    mask = hybrid_mask(valid, causal, actions)
    positions = insulation.backbone_positions(valid) + causal * jnp.sum(actions, axis=1, keepdims=True)
    expert_mask = insulation.expert_mask(valid, causal, horizon, None if state is None else state[1])
    expert_positions = insulation.expert_positions(valid, causal, tokens)

    def layer(
        streams: tuple[Array, Array], inputs: tuple[Layers[Array], Layers[Linear], Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array, Array, Array]]:
        x, y = streams
        p, q, share = inputs
        query, key, value = gemma.project(gemma.rms_norm(x, p["attention_norm"]), p, positions)
        normed, gate = gemma.ada_rms_norm(y, cond, q["attention_norm"])
        own_query, own_key, own_value = gemma.project(normed, q, expert_positions)
        seen_key, seen_value = _insulate(key, share, config), _insulate(value, share, config)
        keys, values = jnp.concatenate([key, own_key], axis=1), jnp.concatenate([value, own_value], axis=1)
        x = x + gemma.merge_heads(gemma.attend(query, keys, values, mask, config.attention), p)
        x = x + gemma.feed_forward(gemma.rms_norm(x, p["mlp_norm"]), p)
        keys, values = jnp.concatenate([seen_key, own_key], axis=1), jnp.concatenate([seen_value, own_value], axis=1)
        y = y + gate * gemma.merge_heads(gemma.attend(own_query, keys, values, expert_mask, config.attention), q)
        normed, gate = gemma.ada_rms_norm(y, cond, q["mlp_norm"])
        return (x, y + gate * gemma.feed_forward(normed, q)), (key, value, own_key, own_value)

    stacked = params["backbone"]["layers"], expert["layers"], jnp.asarray(config.shares, config.dtype)
    (x, y), (keys, values, *own) = gemma.run_layers(layer, (x, y), stacked, config.depth, config.remat)
    hidden = gemma.rms_norm(x, params["backbone"]["norm"])
    velocity = model.velocity_of(expert, y[:, -horizon:], cond)
    return Context(hidden, keys, values, valid, causal, state, velocity), (own[0], own[1], actions)


def _insulate(x: Array, share: Array, config: ModelConfig) -> Array:
    """Does what `insulation.insulate` does, for one layer."""
    stopped = jax.lax.stop_gradient(x)
    return stopped + share * (x - stopped) if any(config.shares) else stopped


def run(params: Params, batch: Batch, config: ModelConfig) -> Context:
    """Runs the first flow draw beside the backbone. Its velocity is in the context, from which `errors` makes the others."""
    noisy, _ = flow.interpolate(batch["actions"], batch["noise"][:, 0], batch["time"][:, 0])
    return side_by_side(params, batch, noisy, batch["time"][:, 0], config)[0]


def errors(params: Params, context: Context, batch: Batch, config: ModelConfig) -> Array:
    """Returns errors as `losses.flow_errors` does; those of the first draw come from the velocity of `run`."""
    first = batch | {name: batch[name][:, :1] for name in ("time", "noise")}
    rest = batch | {name: batch[name][:, 1:] for name in ("time", "noise")}
    velocity = cast(Array, context.velocity)
    out = losses.flow_errors(params, context, first, config, lambda *_: velocity)
    if batch["time"].shape[1] == 1:
        return out
    return jnp.concatenate([out, losses.flow_errors(params, context, rest, config)], axis=1)


def prefill(params: Params, batch: Batch, config: ModelConfig) -> Context:
    """Returns what decoded tokens see: expert tokens of pure noise, then the prefix.

    Args:
        params: the model's parameters, with an expert.
        batch: a batch without suffixes; `is_action` says, as in training, whether a row's tokens are about actions.
        config: the model's shapes.
    """
    rows = batch["tokens"].shape[0]
    noise = jax.random.normal(jax.random.key(0), (config.horizon, config.action_dim))
    noise = jnp.broadcast_to(noise, (rows, *noise.shape))
    context, (keys, values, actions) = side_by_side(params, batch, noise, jnp.ones(rows), config)
    return Context(
        jnp.pad(context.hidden, ((0, 0), (actions.shape[1], 0), (0, 0))),
        jnp.concatenate([keys, context.keys], axis=2),
        jnp.concatenate([values, context.values], axis=2),
        jnp.concatenate([actions, context.valid], axis=1),
        jnp.pad(context.causal, ((0, 0), (actions.shape[1], 0))),
    )


def check(config: TrainConfig) -> None:
    """Refuses a run without noised actions, or without discrete tokens that see them.

    Raises:
        InputError: one of the two is left out.
    """
    if not config.model.flow or config.data.discrete == "none":
        lacking = (
            "discrete tokens (--data.discrete none)" if config.model.flow else "noised actions (model.flow is False)"
        )
        raise InputError(
            f"--model.recipe hybrid_vla lets discrete tokens see noised actions, but there are no {lacking}; use another --preset"
        )


def _flops(c: ModelConfig, seen: int, draws: int) -> float:
    tokens = c.horizon + (c.state_token == "expert")
    return flops.expert(c, seen, draws) + c.depth * 4 * seen * tokens * c.heads * c.head_dim


RECIPE = replace(INSULATED, run=run, errors=errors, prefill=prefill, flops=_flops, check=check, pi05=False)
