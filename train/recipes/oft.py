"""OpenVLA-OFT: all actions of a chunk at once, by regression (arXiv 2502.19645, section IV; compared in arXiv 2505.23705).

    L_L1 = mean |a - h(backbone(e, ..., e | prefix))|              the paper's "parallel decoding" and "L1 regression"

The input has one empty token e per step in place of the actions. These tokens differ only in their positions, and they see the
prefix and each other in both directions. The backbone needs one pass, and an MLP h turns its results into actions. The mask of a
row (image i, prompt p, padding -, actions a):

         i p p -  a a
    i    x x x .  . .
    p    x x x .  . .
    p    x x x .  . .      A suffix (questions, captions, or tokens with --data.discrete fast) is as in train/insulation.py;
    -    . . . .  . .      suffix and actions do not see each other.
    a    x x x .  x x
    a    x x x .  x x

Gradients of L_L1 reach everything that a prefix token or a chunk token passes through: the whole backbone, and the vision
encoder. So `--model.insulation` must be 1. Nothing is random: there are no flow times, and an observation always gives the same
chunk.

Kept: empty tokens that see each other in both directions, chunks, an L1 loss on normalised actions, an MLP with residual blocks
and ReLU (the authors' code: github.com/moojink/openvla-oft, prismatic/models/action_heads.py). The preset also keeps the state as
one projected token of the backbone, and robot rows only.

Different:
- One token per step. OFT has one per step and dimension, and joins them before the MLP.
- e is learned. In OFT it is 0; with Gemma's norm, the first layer could not tell such tokens apart.
- The prefix does not see the actions. In OFT all tokens see all tokens.
- No FiLM, which belongs to OFT+.
- All weights learn. OFT uses LoRA (here: --lora.rank).
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
    """The component "action". D is the backbone's width, K the number of residual blocks.

    Attributes:
        empty: (D,), the empty token e.
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
    """Returns random parameters of the empty token and the MLP. `keys` are those of `model.init`."""
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
    """Predicts chunks in one pass.

    Args:
        params: the model's parameters, with "action".
        context: result of `model.run_backbone`.
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
    """Returns the absolute errors of normalised actions, (B, draws, H, D) float32.

    They are equal in all draws, and 0 where `action_mask` is False.
    """
    error = jnp.abs(regress(params, context, config) - batch["actions"])
    error = jnp.where(batch["action_mask"], error, 0.0)[:, None]
    return jnp.broadcast_to(error, batch["noise"].shape)  # a copy per draw: `flow_weight` averages over draws


def act(params: Params, context: Context, noise: Array, real: Array, config: ModelConfig, steps: int) -> Array:
    """Acts as `policy.integrate` does, but noise and steps change nothing."""
    del noise, steps
    return jnp.where(real, regress(params, context, config), 0.0)


def check(config: TrainConfig) -> None:
    """Refuses settings that regression has no use for.

    Raises:
        InputError: as in `check_without_expert`; or `flow_draws` is not 1.
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
