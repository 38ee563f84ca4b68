"""OpenVLA-OFT: all actions of a chunk at once, by regression (arXiv 2502.19645, section IV; compared in arXiv 2505.23705).

    L_L1 = mean |a - h(backbone(e, ..., e | prefix))|              "parallel decoding" and "L1 regression" there

One empty token e per step stands where the actions will be. They differ by their position alone, see the prefix and each other
both ways, and leave the backbone in one pass; an MLP h makes actions of them. The mask of a row (image i, prompt p, padding -,
actions a):

         i p p -  a a
    i    x x x .  . .
    p    x x x .  . .
    p    x x x .  . .      A suffix (questions, captions, or tokens with --data.discrete fast) is as in train/insulation.py;
    -    . . . .  . .      it and the actions do not see each other.
    a    x x x .  x x
    a    x x x .  x x

Gradients of L_L1 reach everything that a prefix token or a chunk token passes through: the whole backbone, and the vision
encoder. So `--model.insulation` must be 1. Nothing is drawn: there are no flow times, and one observation gives one chunk.

Kept: empty tokens that see each other both ways, chunks, an L1 loss on normalised actions, an MLP with residual blocks and ReLU
(the authors' code: github.com/moojink/openvla-oft, prismatic/models/action_heads.py), the state as one projected token of the
backbone, robot rows only (the last two are the preset's). Different: one token per step, there one per step and dimension,
joined before the MLP; e is learned, there it is 0, of which Gemma's norm would make a first layer that cannot tell steps apart;
the prefix does not see the actions, there all tokens see all; no FiLM, which is OFT+; all weights learn, there LoRA
(--lora.rank).
"""

from dataclasses import replace
from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from fasttok.errors import InputError
from train.chunk_tokens import check_without_expert, pass_flops, run_chunk_tokens
from train.config import ModelConfig, TrainConfig
from train.model import Batch, Context, init_linear, linear
from train.params import ActionComponents, ActionParams, LayerNorm, Linear, Params
from train.recipes.insulated import RECIPE as INSULATED
from train.siglip import layer_norm

BLOCKS = 2


class RegressionParams(ActionParams):
    """Component "action": D is the backbone's width, K residual blocks.

    Attributes:
        empty: (D,), the token that stands where an action will be.
        into: kernel (D, D), bias (D,).
        block_norm: scale (K, D), bias (K, D).
        block: kernel (K, D, D), bias (K, D).
        out_norm: scale (D,), bias (D,).
    """

    empty: Array
    into: Linear
    block_norm: LayerNorm
    block: Linear
    out_norm: LayerNorm


def parameters(keys: Array, c: ModelConfig) -> ActionComponents:
    """The empty token and the MLP; the keys are those of `model.init`."""
    blocks = [init_linear(key, c.width, c.width) for key in jax.random.split(keys[6], BLOCKS)]
    action: RegressionParams = {
        "empty": jax.random.normal(keys[3], (c.width,), jnp.float32),
        "into": init_linear(keys[4], c.width, c.width),
        "block_norm": {"scale": jnp.ones((BLOCKS, c.width)), "bias": jnp.zeros((BLOCKS, c.width))},
        "block": cast(Linear, jax.tree.map(lambda *one: jnp.stack(one), *blocks)),
        "out_norm": {"scale": jnp.ones(c.width), "bias": jnp.zeros(c.width)},
        "action_out": init_linear(keys[5], c.width, c.action_dim),
    }
    return {"action": action}


def regress(params: Params, context: Context, config: ModelConfig) -> Array:
    """Chunks in one pass.

    Args:
        params: with "action".
        context: of `model.run_backbone`.
        config: the model's shapes.

    Returns:
        (B, H, D) float32 normalised actions.
    """
    p = cast(RegressionParams, params["action"])
    x = jnp.broadcast_to(p["empty"], (context.valid.shape[0], config.horizon, config.width)).astype(config.dtype)
    x = run_chunk_tokens(params, context, x, config).astype(jnp.float32)
    x = jax.nn.relu(linear(x, p["into"]))
    norms, blocks = p["block_norm"], p["block"]
    for i in range(BLOCKS):
        normed = layer_norm(x, {"scale": norms["scale"][i], "bias": norms["bias"][i]})
        x = x + jax.nn.relu(linear(normed, {"kernel": blocks["kernel"][i], "bias": blocks["bias"][i]}))
    return linear(layer_norm(x, p["out_norm"]), p["action_out"])


def errors(params: Params, context: Context, batch: Batch, config: ModelConfig) -> Array:
    """Absolute errors (B, draws, H, D) float32 of normalised actions, the same in each draw; 0 where `action_mask` is False."""
    error = jnp.abs(regress(params, context, config) - batch["actions"])
    error = jnp.where(batch["action_mask"], error, 0.0)[:, None]
    return jnp.broadcast_to(error, batch["noise"].shape)  # `flow_weight` is a mean over draws


def act(params: Params, context: Context, noise: Array, real: Array, config: ModelConfig, steps: int) -> Array:
    """As `policy.integrate`, but neither noise nor steps change anything."""
    del noise, steps
    return jnp.where(real, regress(params, context, config), 0.0)


def check(config: TrainConfig) -> None:
    """Refuses what regression has no use for.

    Raises:
        InputError: as `check_without_expert`; or several flow times are asked for.
    """
    check_without_expert(config)
    if config.flow_draws != 1:
        raise InputError(
            f"--model.recipe oft draws no flow times, but --flow-draws is {config.flow_draws}, expected 1 (--preset oft sets it)"
        )


def _flops(c: ModelConfig, seen: int, draws: int) -> float:
    del draws
    return pass_flops(c, seen) + 2 * c.horizon * (c.action_dim * c.width + (1 + BLOCKS) * c.width**2)


RECIPE = replace(
    INSULATED,
    loss="l1",
    parameters=parameters,
    errors=errors,
    act=act,
    drawn=False,
    flops=_flops,
    check=check,
    pi05=False,
)
