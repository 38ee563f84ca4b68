"""Presets say what is trained, as differences from `ki`; sizes say how large the model is and how it is trained."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

from fasttok.errors import unknown_name
from train.config import AugmentConfig, DataConfig, Dtype, ModelConfig, OptimConfig, Remat, TrainConfig

KI = TrainConfig(Path("SHARDS"), Path("RUN"))  # arXiv 2505.23705: insulation 0, FAST tokens, VLM data, flow


JOINT = ModelConfig(insulation=(1.0,))  # no stop-gradient
ROBOT_ONLY = DataConfig(kinds=("robot",))
NO_TEXT = replace(ROBOT_ONLY, discrete="none")
OFT = replace(JOINT, recipe="oft", state="continuous", state_in="backbone")


def _ki(model: ModelConfig = KI.model, data: DataConfig = KI.data, freeze: tuple[str, ...] = ()) -> TrainConfig:
    return replace(KI, model=model, data=data, optim=OptimConfig(freeze=freeze))


PRESETS = {
    "ki": KI,
    "joint": _ki(JOINT),
    "ki_no_vlm": _ki(data=ROBOT_ONLY),
    "joint_no_vlm": _ki(JOINT, ROBOT_ONLY),
    "pi0": _ki(replace(JOINT, state="continuous"), NO_TEXT),  # flow, end to end
    "pi0_fast": _ki(ModelConfig(flow=False), ROBOT_ONLY),  # tokens only
    "frozen": _ki(data=NO_TEXT, freeze=("vision", "backbone")),  # only the expert learns
    "naive_bins": _ki(data=DataConfig(discrete="bins")),  # ki, with one token per number in place of FAST
    "naive_bins_5": _ki(data=DataConfig(discrete="bins", bins_stride=5)),  # section 6: bins of every fifth step only
    "hybrid_vla": _ki(replace(JOINT, recipe="hybrid_vla")),  # joint, but tokens see the noised actions
    "transfusion": _ki(replace(JOINT, recipe="transfusion"), DataConfig(discrete="none")),  # the backbone denoises
    "oft": replace(_ki(OFT, NO_TEXT), flow_draws=1),  # all steps at once, by regression
    "vlm": _ki(ModelConfig(flow=False), DataConfig(kinds=("vqa", "caption"))),  # the base VLM, trained before robots
}


class ModelSize(TypedDict, total=False):
    """Fields of `ModelConfig` that a size may set; the others keep their defaults."""

    image_size: int
    patch: int
    vision_width: int
    vision_depth: int
    vision_heads: int
    vision_mlp: int
    width: int
    depth: int
    heads: int
    head_dim: int
    mlp: int
    expert_width: int
    expert_mlp: int
    dtype: Dtype
    remat: Remat


SIZES: dict[str, ModelSize] = {
    "debug": {},  # ModelConfig's defaults: 1.7 million parameters
    "small": {
        "image_size": 96, "patch": 16, "vision_width": 256, "vision_depth": 6, "vision_heads": 4, "vision_mlp": 1024,
        "width": 384, "depth": 8, "heads": 6, "head_dim": 64, "mlp": 1536, "expert_width": 192, "expert_mlp": 768,
        "remat": "dots",  # faster on a CPU than keeping everything (benchmarks/results/train_step.md)
    },
    # PaliGemma (arXiv 2407.07726): SigLIP So400m/14 at 224 pixels, Gemma 2B; with pi0's expert of 300M.
    "paligemma_3b_300m": {
        "image_size": 224, "patch": 14, "vision_width": 1152, "vision_depth": 27, "vision_heads": 16, "vision_mlp": 4304,
        "width": 2048, "depth": 18, "heads": 8, "head_dim": 256, "mlp": 16384, "expert_width": 1024, "expert_mlp": 4096,
        "dtype": "bfloat16", "remat": "layer",
    },
}  # fmt: skip


@dataclass(frozen=True)
class SizeTraining:
    """How a model of some size is trained. The preset says what is trained, and flags can change both.

    Attributes:
        optim: the optimiser, without the parameters to freeze, which the preset names.
        augment: changes to training images.
        steps: optimiser steps.
        batch_size: rows of a step.
        flow_draws: flow times per row.
    """

    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    steps: int = KI.steps
    batch_size: int = KI.batch_size
    flow_draws: int = KI.flow_draws


TRAINING: dict[str, SizeTraining] = {
    "debug": SizeTraining(),  # the defaults of the configuration, which the studies use
    # As debug: training starts from random parameters, so a high rate ruins nothing. Pythia 70M was also trained with a peak of
    # 1e-3, which a cosine lowers to a tenth (arXiv 2304.01373, models/70M/pythia-70m.yml).
    "small": SizeTraining(),
    # AdamW 0.9/0.95 without weight decay, clip 1, 1,000 steps of linear warmup, then constant 5e-5, EMA 0.999: FAST (arXiv
    # 2501.09747, appendix C), which trains the same model. openpi's pi05_full_droid_finetune has the same rate, warmup, betas and
    # clip, pi05_libero the same EMA (src/openpi/training/config.py, optimizer.py). Knowledge insulation (arXiv 2505.23705) gives
    # one number: alpha 1 (section 5.2). Augmentation, one flow time per row, batch 32 and 30,000 steps are openpi's
    # (models/model.py preprocess_observation, models/pi0.py compute_loss, TrainConfig).
    "paligemma_3b_300m": SizeTraining(
        OptimConfig(learning_rate=5e-5, warmup=1000, schedule="constant", b2=0.95, weight_decay=0.0, ema=0.999),
        AugmentConfig(on=True), steps=30_000, batch_size=32, flow_draws=1,
    ),
}  # fmt: skip


def get_preset(preset: str = "ki", size: str = "debug") -> TrainConfig:
    """Returns the configuration of a preset at a size.

    Raises:
        InputError: the preset or the size is unknown; the message has the closest matches.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    base, way = PRESETS[preset], TRAINING[size]
    return replace(
        base, preset=preset, size=size, model=replace(base.model, **SIZES[size]), augment=way.augment, steps=way.steps,
        optim=replace(way.optim, freeze=base.optim.freeze), batch_size=way.batch_size,
        flow_draws=way.flow_draws if base.flow_draws == KI.flow_draws else base.flow_draws,
    )  # fmt: skip


def preset_from(words: Sequence[str]) -> TrainConfig:
    """Returns the configuration of the preset and the size on a command line.

    Both `--preset joint` and `--preset=joint` are understood, and the last one counts. The other flags change the settings of the
    preset, so it must be known before they are read. No other code reads these two flags, so the names in config.json and in
    tables are those of what was trained.

    Args:
        words: words of a `fasttok-train` command; flags other than --preset and --size are ignored.

    Raises:
        InputError: the preset or the size is unknown.

    >>> preset_from(["--steps", "8", "--preset=joint"]) == preset_from(["--preset", "ki", "--preset", "joint"])
    True
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default=KI.preset)
    parser.add_argument("--size", default=KI.size)
    try:
        asked, _ = parser.parse_known_args(words)
    except argparse.ArgumentError:  # a flag without a value: the reader of all flags reports it next
        return get_preset()
    return get_preset(asked.preset, asked.size)
