"""Transfusion: one set of weights predicts text and denoises actions (arXiv 2408.11039; compared in arXiv 2505.23705).

    L = L_VLM + L_FAST + alpha * L_FLOW                            Transfusion, section 3.3, with alpha for its lambda
    v(x_t, t) = W_out backbone(W_in x_t + m(t) | prefix)           its section 3.2: linear maps in and out, time added

There is no expert: the noised actions, one token per step, go through the backbone's own layers. They see each other and the
prefix in both directions, as the patches of an image do in Transfusion. The mask of a row (image i, prompt p, suffix s,
padding -, actions a):

         i p p s s -  a a
    i    x x x . . .  . .
    p    x x x . . .  . .
    p    x x x . . .  . .
    s    x x x x . .  . .      Suffix and actions do not see each other, as in `ki`: the suffix says what the actions should
    s    x x x x x .  . .      become, and at inference only one of the two is present.
    -    . . . . . .  . .
    a    x x x . . .  x x
    a    x x x . . .  x x

Gradients of L_FLOW reach everything that a prefix token or a chunk token passes through: the whole backbone, and the vision
encoder. So `--model.insulation` must be 1.

Kept: shared weights, the mask, linear maps into and out of the model, a time embedding that is added to each noised token, and
the sum of two losses.

Different:
- Flow matching (`train.flow`) in place of DDPM, so that L_FLOW is comparable between recipes.
- The prefix is seen in both directions, as in PaliGemma. Transfusion's text is causal.
- A noised token is a step, not a patch, and no special tokens mark where noised tokens begin and end.
- alpha is 1. Transfusion's lambda is 5.

The preset has no FAST tokens, so its text loss is L_VLM alone, on questions and captions.
"""

from dataclasses import replace
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from fasttok.errors import InputError
from train import flow, losses, policy
from train.chunk_tokens import check_without_expert, pass_flops, run_chunk_tokens
from train.config import ModelConfig, TrainConfig
from train.model import Context, init_linear, linear
from train.params import ActionComponents, ActionParams, Linear, Params
from train.recipes.insulated import RECIPE as INSULATED


class DenoiserParams(ActionParams):
    """The component "action". D is the backbone's width, A the number of action dimensions.

    Attributes:
        action_in: kernel (A, D), bias (D,).
        time_in: kernel (D, D), bias (D,).
        time_out: as `time_in`.
    """

    action_in: Linear
    time_in: Linear
    time_out: Linear


def parameters(keys: Array, c: ModelConfig) -> ActionComponents:
    """Returns random maps into and out of the backbone. `keys` are those of `model.init`."""
    action: DenoiserParams = {
        "action_in": init_linear(keys[4], c.action_dim, c.width),
        "action_out": init_linear(keys[5], c.width, c.action_dim),
        "time_in": init_linear(keys[6], c.width, c.width),
        "time_out": init_linear(keys[7], c.width, c.width),
    }
    return {"action": action}


def velocity(params: Params, context: Context, noisy: Array, time: Array, config: ModelConfig) -> Array:
    """Returns a velocity as `model.run_expert` does, but from the backbone's own layers.

    Args:
        params: the model's parameters, with "action".
        context: result of `model.run_backbone`.
        noisy: (B, H, D) x_t.
        time: (B,) flow time, 1 = noise.
        config: the model's shapes.

    Returns:
        (B, H, D) float32 velocity v_t (towards noise).
    """
    p = cast(DenoiserParams, params["action"])
    when = linear(jax.nn.swish(linear(flow.time_embedding(time, config.width), p["time_in"])), p["time_out"])
    x = (linear(noisy, p["action_in"]) + when[:, None]).astype(config.dtype)
    return linear(run_chunk_tokens(params, context, x, config).astype(jnp.float32), p["action_out"])


def check(config: TrainConfig) -> None:
    """Refuses settings that the recipe has no use for.

    Raises:
        InputError: as in `check_without_expert`; or the backbone's width is odd.
    """
    check_without_expert(config)
    if config.model.width % 2:
        raise InputError(
            f"--model.width is {config.model.width}, expected an even number with --model.recipe transfusion: half of it are "
            "sines of the flow time, and half are cosines"
        )


def _flops(c: ModelConfig, seen: int, draws: int) -> float:
    return draws * (pass_flops(c, seen) + 4 * c.horizon * c.action_dim * c.width + 4 * c.width**2)


RECIPE = replace(
    INSULATED,
    parameters=parameters,
    errors=partial(losses.flow_errors, velocity=velocity),
    act=partial(policy.integrate, velocity=velocity),
    flops=_flops,
    check=check,
    pi05=False,
)
