"""The command fasttok-train --preset ki --size debug --shards SHARDS --out RUN."""

import tyro

from fasttok.errors import InputError, require
from train.config import TrainConfig
from train.presets import PRESETS, SIZES, preset_from


def main(argv: list[str]) -> None:
    """Reads --preset and --size first: the other flags change what they say."""
    preset = preset_from(argv)
    required = [flag for flag in ("--shards", "--out") if not any(w == flag or w.startswith(flag + "=") for w in argv)]
    if required and not {"-h", "--help"} & set(argv):
        raise InputError(
            f"{' and '.join(required)} missing; example: fasttok-train --preset ki --shards SHARDS --out RUN"
        )
    description = f"{TrainConfig.__doc__}\n\nPresets: {', '.join(PRESETS)}. Sizes: {', '.join(SIZES)}."
    config = tyro.cli(TrainConfig, default=preset, args=argv, prog="fasttok-train", description=description)
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "training")
    from train.loop import run as train

    train(config)
