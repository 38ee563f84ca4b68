"""What a run is: frozen dataclasses that are configuration, command line and saved record at once. Imports no JAX."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fasttok.errors import InputError, unknown_name

KINDS = ("robot", "vqa", "caption")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the model; `vocab_size`, `horizon`, `action_dim` and `cameras` of 0 are taken from the shards."""

    image_size: int = 64
    """Images are resized to this square, in pixels."""
    patch: int = 16
    """Patch size in pixels; (image_size / patch) ** 2 tokens per camera."""
    vision_width: int = 128
    vision_depth: int = 3
    vision_heads: int = 4
    vision_mlp: int = 256
    width: int = 128
    """Backbone width; the expert shares depth, heads and head_dim with the backbone."""
    depth: int = 4
    heads: int = 4
    head_dim: int = 32
    mlp: int = 384
    expert_width: int = 96
    expert_mlp: int = 288
    vocab_size: int = 0
    """Text tokens plus FAST tokens."""
    horizon: int = 0
    """Steps of the longest action chunk."""
    action_dim: int = 0
    """Dimensions of the widest embodiment."""
    cameras: int = 0
    """Camera slots per row."""
    insulation: tuple[float, ...] = (0.0,)
    """Share of the expert's gradient that reaches the backbone, one number or one per layer: 0 = the paper, 1 = joint."""
    flow: bool = True
    """False leaves the action expert out."""
    dtype: str = "float32"
    """Compute dtype; parameters stay float32."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise InputError(f"model: image_size {self.image_size} is not a multiple of patch {self.patch}")
        if self.vision_width % self.vision_heads:
            raise InputError(f"model: vision_width {self.vision_width} is not a multiple of {self.vision_heads} heads")
        if len(self.insulation) not in (1, self.depth):
            raise InputError(
                f"model: insulation has {len(self.insulation)} numbers, expected 1 or one per layer ({self.depth})"
            )
        if not all(0.0 <= share <= 1.0 for share in self.insulation):
            raise InputError(f"model: insulation {self.insulation} must lie in [0, 1]")

    @property
    def shares(self) -> tuple[float, ...]:
        """`insulation` spelled out per layer."""
        return self.insulation * self.depth if len(self.insulation) == 1 else self.insulation
