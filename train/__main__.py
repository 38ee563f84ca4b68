"""python -m train --preset ki --shards SHARDS --out RUN"""

import sys

import tyro

from fasttok.console import run
from fasttok.errors import require
from train.config import PRESETS, TrainConfig, get_preset


def main(argv: list[str]) -> None:
    """Reads --preset first: the other flags change what it says."""
    name = "debug"
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            name = argv[i + 1]
        elif word.startswith("--preset="):
            name = word.partition("=")[2]
    preset = get_preset(name)
    required = [flag for flag in ("--shards", "--out") if not any(w == flag or w.startswith(flag + "=") for w in argv)]
    description = f"{TrainConfig.__doc__}\n\nPresets: {', '.join(PRESETS)}."
    if required and not {"-h", "--help"} & set(argv):
        from fasttok.errors import InputError

        raise InputError(
            f"{' and '.join(required)} missing; example: python -m train --preset ki --shards SHARDS --out RUN"
        )
    config = tyro.cli(TrainConfig, default=preset, args=argv, prog="python -m train", description=description)
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "training")
    from train.loop import run as train

    train(config)


if __name__ == "__main__":
    sys.exit(run(lambda: main(sys.argv[1:])))
