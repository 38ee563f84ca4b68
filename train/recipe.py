"""The interface of a recipe, which each file of train/recipes/ fills in: everything in which the core differs between recipes."""

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
    """A recipe: how actions enter the model and what is learned from them.

    Shapes: B rows, H steps, D dimensions, T flow draws.

    Attributes:
        loss: name of its loss on actions, which is logged as loss_NAME.
        parameters: (the nine keys of `model.init`, config) -> components besides vision and backbone; only called if
            `ModelConfig.flow` is True.
        run: (params, prepared batch, config) -> what the losses read: hidden states for text, keys and values for actions.
        errors: (params, context of `run`, prepared batch, config) -> (B, T, H, D) float32 errors, 0 where `action_mask` is False.
        act: (params, context of `model.run_backbone`, noise (B, H, D), embodiment_mask, config, Euler steps) -> (B, H, D) float32
            normalised actions, 0 in steps and dimensions that the embodiment does not have.
        drawn: whether noise changes the result of `act`; if not, one sample is enough.
        prefill: (params, batch without suffixes, config) -> what decoded tokens see. Its last places are those of the text.
        flops: (config, number of backbone tokens, flow draws) -> FLOPs of actions in one forward pass of one row.
        check: (configuration) -> None; raises InputError if the recipe does not work with this configuration.
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
    """Returns the recipe that a configuration names."""
    return cast(Recipe, recipes.module(config.recipe).RECIPE)
