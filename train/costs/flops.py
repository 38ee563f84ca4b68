"""Counts the FLOPs of a sample: multiplications and additions of matrix products, the usual basis of MFU."""

from collections.abc import Collection
from typing import NamedTuple

from train.config import COMPONENTS, ModelConfig
from train.learning.layer_paths import below
from train.recipe import recipe_of

# Dense bfloat16 peak of a device, FLOP/s, by what jax calls its kind; from the vendors' data sheets.
PEAKS = {
    "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12,
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5p": 459e12, "TPU v5": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12,
}  # fmt: skip


class Flops(NamedTuple):
    """FLOPs of one sample by component.

    Attributes:
        vision: FLOPs of the vision encoder.
        backbone: FLOPs of the language model's layers.
        expert: FLOPs of actions in all flow draws: of the expert, or of what the recipe has instead.
        logits: FLOPs of the logits of predicted tokens.
    """

    vision: float
    backbone: float
    expert: float
    logits: float

    @property
    def total(self) -> float:
        """FLOPs of all components together."""
        return sum(self)


def forward(config: ModelConfig, text: int, suffix: int, draws: int = 1) -> Flops:
    """Returns the FLOPs of one forward pass of one row.

    Args:
        config: the model's shapes.
        text: text tokens of a row, prefix and suffix.
        suffix: text tokens that are predicted.
        draws: flow times.
    """
    c, n = config, config.image_tokens
    block = 2 * n * (4 * c.vision_width**2 + 2 * c.vision_width * c.vision_mlp) + 4 * n * n * c.vision_width
    ends = 2 * n * (3 * c.patch**2 * c.vision_width + c.vision_width * c.width)
    seen = c.cameras * n + text + (c.state_token == "backbone")
    return Flops(
        c.cameras * (c.vision_depth * block + ends),
        c.depth * layer(c, c.width, c.mlp, seen, seen),
        recipe_of(c).flops(c, seen, draws) if c.flow else 0.0,
        2 * suffix * c.width * c.vocab_size,
    )


def expert(config: ModelConfig, seen: int, draws: int) -> float:
    """Returns the FLOPs of the action expert in one forward pass of one row.

    Args:
        config: the model's shapes.
        seen: number of backbone tokens in the row.
        draws: flow times.
    """
    c = config
    acting = c.horizon + (c.state_token == "expert")
    adaptive = 2 * 3 * c.expert_width**2 * (2 * c.depth + 1) + 4 * c.expert_width**2
    ends = 4 * c.horizon * c.action_dim * c.expert_width
    return draws * (c.depth * layer(c, c.expert_width, c.expert_mlp, acting, seen + acting) + adaptive + ends)


def layer(config: ModelConfig, width: int, mlp: int, queries: int, keys: int) -> float:
    """Returns the FLOPs of one layer: projections and feed-forward network of its tokens, and the products of attention.

    Args:
        config: has the number and the size of the heads.
        width: width of the tokens.
        mlp: width inside the feed-forward network.
        queries: tokens that go through the layer.
        keys: tokens that they see.
    """
    inner = config.heads * config.head_dim
    return (
        2 * queries * (2 * width * inner + 2 * width * config.head_dim + 3 * width * mlp) + 4 * queries * keys * inner
    )


def train(
    config: ModelConfig,
    text: int,
    suffix: int,
    draws: int = 1,
    freeze: tuple[str, ...] = (),
    adapted: Collection[str] = (),
) -> Flops:
    """Returns the FLOPs of a forward and a backward pass of one row.

    For each product of the forward pass, the backward pass has two of the same size: the gradients of its inputs and its weights.
    What does not learn has no gradient of its weights, and none of its inputs if nothing before it learns. What `remat` computes
    again is not counted, nor are LoRA's thin products.

    Args:
        config: the model's shapes.
        text: text tokens of a row, prefix and suffix.
        suffix: text tokens that are predicted.
        draws: flow times.
        freeze: as in `OptimConfig`; only whole components count: the backward pass goes through all layers if some are frozen.
        adapted: components whose layers LoRA adapts.
    """
    once = forward(config, text, suffix, draws)
    # "/any", because paths such as backbone/* and * freeze a whole component, too.
    still = {name for name in COMPONENTS if any(below(f"{name}/any", start) for start in freeze)}
    times = {name: 2 if name in adapted else 1 if name in still else 3 for name in COMPONENTS}
    if times["backbone"] == 1 and times["vision"] > 1:
        times["backbone"] = 2
    logits = times["backbone"] if "backbone" in still else 3
    return Flops(*(getattr(once, name) * (times | {"logits": logits})[name] for name in Flops._fields))


def peak(kind: str) -> float | None:
    """Returns the FLOP/s of a device kind (`jax.devices()[0].device_kind`); None if they are not known, as for CPUs."""
    return next((value for name, value in PEAKS.items() if name.lower() in kind.lower()), None)
