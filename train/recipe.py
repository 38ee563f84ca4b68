"""What a file of train/recipes/ says of its recipe: all in which the core differs from recipe to recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from jax import Array

from train import recipes
from train.config import ModelConfig, TrainConfig
from train.model import Batch, Context
from train.params import ActionComponents, Params


@dataclass(frozen=True)
class Recipe:
    """Shapes: B rows, H steps, D dimensions, T flow draws.

    Attributes:
        loss: what its action loss is called: it is logged as loss_NAME.
        parameters: (the nine keys of `model.init`, config) -> components besides vision and backbone; only called with `flow`.
        run: (params, prepared batch, config) -> what the losses read: hidden states for text, keys and values for actions.
        errors: (params, context of `run`, prepared batch, config) -> (B, T, H, D) float32 errors, 0 where `action_mask` is False.
        act: (params, context of `model.run_backbone`, noise (B, H, D), embodiment_mask, config, Euler steps) -> (B, H, D) float32
            normalised actions, 0 where the embodiment has none.
        drawn: whether noise changes what `act` gives: if not, one sample says all.
        prefill: (params, batch without suffixes, config) -> what decoded tokens see. Its places end with those of the text.
        flops: (config, tokens of the backbone, flow draws) -> FLOPs of actions in one forward pass of one row.
        check: (configuration) -> None, or InputError where the recipe makes no sense with it.
        pi05: whether the parameters are those of pi0.5, so that openpi and lerobot compute the same with them.
    """

    loss: str
    parameters: Callable[[Array, ModelConfig], ActionComponents]
    run: Callable[[Params, Batch, ModelConfig], Context]
    errors: Callable[[Params, Context, Batch, ModelConfig], Array]
    act: Callable[[Params, Context, Array, Array, ModelConfig, int], Array]
    drawn: bool
    prefill: Callable[[Params, Batch, ModelConfig], Context]
    flops: Callable[[ModelConfig, int, int], float]
    check: Callable[[TrainConfig], None]
    pi05: bool


def recipe_of(config: ModelConfig) -> Recipe:
    """The recipe that a configuration names."""
    return cast(Recipe, recipes.module(config.recipe).RECIPE)
