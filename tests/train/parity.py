"""The golden models' sizes, and their arrays as our parameters by the trainer's own table of names."""

import dataclasses
from typing import Any

import numpy as np

from train.config import ModelConfig
from train.weights.layouts import canonical, mapped_tensors, unflatten
from train.weights.matching import our_shapes

TINY = ModelConfig(
    image_size=56, patch=14, vision_width=48, vision_depth=2, vision_heads=4, vision_mlp=172,
    width=64, depth=3, heads=4, head_dim=16, mlp=256, expert_width=32, expert_mlp=128,
    vocab_size=512, horizon=8, action_dim=7, cameras=3,
)  # fmt: skip


def tree(arrays: Any, expert: bool = True) -> Any:
    """An npz of openpi's names as our nested parameters; names that it lacks are left out."""
    shapes = our_shapes(dataclasses.replace(TINY, flow=expert))
    named = {canonical("jax", name): name for name in arrays}
    stored = [tensor for tensor in mapped_tensors("jax", shapes) if tensor.name in named]
    return unflatten({p.path: p.to_ours(np.asarray(arrays[named[p.name]]), shapes[p.path]) for p in stored})
