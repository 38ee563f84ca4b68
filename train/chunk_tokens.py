"""Runs chunk tokens through the backbone's own layers, for recipes without an expert.

There is one chunk token per step of the chunk, and no other token sees it. So the prefix needs only one pass, and any number of
passes of chunk tokens can read its keys and values, in training and at inference. Chunk tokens have the mask of the expert's
tokens (`train.insulation.expert_mask`): they see the valid prefix and each other.
"""

import jax.numpy as jnp
from jax import Array

from fasttok.errors import InputError
from train import gemma, insulation
from train.config import ModelConfig, TrainConfig
from train.costs import flops
from train.model import Context
from train.params import Layers, Params


def run_chunk_tokens(params: Params, context: Context, x: Array, config: ModelConfig) -> Array:
    """Runs chunk tokens through the backbone's layers, where they read its keys and values of images and prompt.

    Args:
        params: the model's parameters; only those of the backbone are used.
        context: result of `model.run_backbone`; the whole gradient flows back through it.
        x: (B, H, width) tokens, as they enter the first layer.
        config: the model's shapes.

    Returns:
        (B, H, width) hidden states after the last norm.
    """
    mask = insulation.expert_mask(context.valid, context.causal, x.shape[1])
    positions = insulation.expert_positions(context.valid, context.causal, x.shape[1])
    backbone = params["backbone"]

    def layer(x: Array, inputs: tuple[Layers[Array], Array, Array]) -> tuple[Array, None]:
        p, seen_key, seen_value = inputs
        query, key, value = gemma.project(gemma.rms_norm(x, p["attention_norm"]), p, positions)
        key, value = jnp.concatenate([seen_key, key], axis=1), jnp.concatenate([seen_value, value], axis=1)
        x = x + gemma.merge_heads(gemma.attend(query, key, value, mask, config.attention), p)
        return x + gemma.feed_forward(gemma.rms_norm(x, p["mlp_norm"]), p), None

    x, _ = gemma.run_layers(layer, x, (backbone["layers"], context.keys, context.values), config.depth, config.remat)
    return gemma.rms_norm(x, backbone["norm"])


def pass_flops(config: ModelConfig, seen: int) -> float:
    """Returns the FLOPs of one pass of a row's chunk tokens through the backbone's layers.

    Args:
        config: the model's shapes.
        seen: number of backbone tokens in the row: images, state and text.
    """
    c = config
    return c.depth * flops.layer(c, c.width, c.mlp, c.horizon, seen + c.horizon)


def check_without_expert(config: TrainConfig) -> None:
    """Refuses settings that need an expert.

    Raises:
        InputError: the model makes no actions, insulation is not 1 or has a schedule, `optim.expert_first` is set, or a state
            should enter an expert.
    """
    model, name = config.model, config.model.recipe
    if not model.flow:
        raise InputError(
            f"--model.recipe {name} is a way to make actions, but model.flow is False; leave one of both out"
        )
    if set(model.insulation) != {1.0}:
        raise InputError(
            f"--model.recipe {name} has no expert, so there is nothing to insulate the backbone from: --model.insulation is "
            f"{' '.join(f'{share:g}' for share in model.insulation)}, expected 1 (--preset {name} sets it)"
        )
    if config.insulation_schedule or config.optim.expert_first:
        flag = "--insulation-schedule" if config.insulation_schedule else "--optim.expert-first"
        raise InputError(f"--model.recipe {name} has no expert, so {flag} has nothing to act on; leave it out")
    if model.state_token == "expert":
        raise InputError(
            f"--model.recipe {name} has no expert for a continuous state to enter; add --model.state-in backbone, or use "
            "--model.state text"
        )
