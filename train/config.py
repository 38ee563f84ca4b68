"""What a run is: frozen dataclasses that are configuration, command line and saved record at once. Imports no JAX."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fasttok.errors import InputError, unknown_name

KINDS = ("robot", "vqa", "caption")
PARTS = ("vision", "backbone", "expert")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the model; `vocab_size`, `horizon`, `action_dim` and `cameras` of 0 are taken from the shards."""

    image_size: int = 64
    """Images are resized to this square, in pixels."""
    patch: int = 16
    """Patch size in pixels; (image_size / patch) ** 2 tokens per camera."""
    vision_width: int = 128
    vision_depth: int = 2
    vision_heads: int = 4
    vision_mlp: int = 256
    width: int = 128
    """Backbone width; the expert shares depth, heads and head_dim with the backbone."""
    depth: int = 4
    heads: int = 4
    head_dim: int = 32
    mlp: int = 256
    expert_width: int = 96
    expert_mlp: int = 192
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


@dataclass(frozen=True)
class TrainConfig:
    """Trains a vision-language-action model with L_VLM + L_FAST + alpha * L_FLOW.

    Example: python -m train --preset ki --shards SHARDS --out RUN --steps 2000
    """

    shards: Path
    """Folder of `python -m pipelines build`."""
    out: Path
    """Folder of the run: config.json, text_tokenizer.json, metrics.jsonl, checkpoints."""
    preset: str = "debug"
    """Starting point that the other flags change."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Shapes of the model."""
    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 32
    """Rows of a step."""
    learning_rate: float = 1e-3
    """Peak of a warmup-cosine schedule."""
    warmup: int = 30
    """Steps of linear warmup."""
    weight_decay: float = 1e-4
    """AdamW's decay, on matrices only."""
    clip: float = 1.0
    """Largest global gradient norm."""
    alpha: float = 1.0
    """Weight of L_FLOW."""
    loss_norm: Literal["tokens", "samples"] = "tokens"
    """tokens: the mean over all text-loss tokens, gradients follow token shares; samples: the mean of each row's mean."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are: parameter paths, such as vision, backbone or backbone/embedding, with all below them."""
    flow_draws: int = 2
    """Flow times per row and step: each costs one pass of the small expert and lowers the variance."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of rows to train on."""
    init_from: Path | None = None
    """Run whose vision encoder and backbone (and text tokenizer) this one starts from."""
    weights: Path | None = None
    """Checkpoint to start from: PaliGemma or our own safetensors, openpi's or lerobot's pi0.5 (docs/weights.md)."""
    weights_strict: bool = False
    """Refuse a checkpoint that leaves anything of the model to be initialised, or has anything more."""
    weights_resample: bool = False
    """Resample the checkpoint's position embedding to --model.image-size."""
    text_tokenizer: Path | None = None
    """tokenizer.json for text; by default the one beside --weights, or one trained on the shards' texts."""
    text_vocab: int = 900
    """Size of a text vocabulary that is trained."""
    text_length: int = 0
    """Tokens per row; 0: the longest row in the shards."""
    seed: int = 0
    """Seed of parameters, data order and noise."""
    log_every: int = 20
    """Steps between lines of the log."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 2
    """Checkpoints to keep."""
    resume: bool = False
    """Go on from the last checkpoint in OUT."""
    overwrite: bool = False
    """Replace a run in OUT."""
    dry_run: bool = False
    """Print parameter counts and the batch plan, train nothing."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "flow_draws", "log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind", kind, KINDS)
        for path in self.freeze:
            if path.split("/")[0] not in PARTS:
                raise unknown_name("part of the model to freeze", path.split("/")[0], PARTS)
        if not self.kinds:
            raise InputError("--kinds is empty; expected some of robot, vqa, caption")
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        if self.weights is not None and self.init_from is not None:
            raise InputError("--weights and --init-from exclude each other: both say where the parameters come from")

    def to_json(self) -> dict[str, Any]:
        """Plain values, for config.json."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}


def _preset(name: str, model: dict[str, Any] | None = None, **fields: Any) -> TrainConfig:
    return TrainConfig(Path("SHARDS"), Path("RUN"), preset=name, model=ModelConfig(**(model or {})), **fields)


PRESETS = {
    preset.preset: preset
    for preset in (
        _preset("debug"),
        _preset("ki"),  # the paper: insulation 0, all three losses
        _preset("joint", model={"insulation": (1.0,)}),  # no stop-gradient
        _preset("ki_no_vlm", kinds=("robot",)),
        _preset("joint_no_vlm", model={"insulation": (1.0,)}, kinds=("robot",)),
        _preset("pi0_fast", model={"flow": False}),  # tokens only
        _preset("frozen", freeze=("vision", "backbone")),  # only the expert learns
        _preset("vlm", model={"flow": False}, kinds=("vqa", "caption"), learning_rate=5e-4),  # what comes before
    )
}


def get_preset(name: str) -> TrainConfig:
    """A preset by name.

    Raises:
        InputError: unknown, with the closest matches.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def load_model_config(run: Path) -> ModelConfig:
    """The resolved model of a run.

    Raises:
        InputError: not a run's folder.
    """
    path = run / "config.json"
    if not path.is_file():
        raise InputError(
            f"{run} is not a run (no config.json); train one with: python -m train --shards SHARDS --out {run}"
        )
    data = json.loads(path.read_text(encoding="utf-8"))["model"]
    return ModelConfig(**data | {"insulation": tuple(data["insulation"])})
