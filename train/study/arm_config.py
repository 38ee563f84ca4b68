"""The training configuration of an arm: its flags, read as `fasttok-train` reads them. Imports no JAX."""

import shlex
from pathlib import Path

import tyro

from fasttok.errors import InputError
from train.config import TrainConfig
from train.presets import preset_from
from train.study.spec import Arm, Study


def training(study: Study, arm: Arm, data: Path, out: Path, seed: int, extra: tuple[str, ...] = ()) -> TrainConfig:
    """Returns the training configuration of an arm. Its number of steps is decided later.

    Args:
        study: gives the flags of all arms.
        arm: the arm to train.
        data: folder of the study's shards.
        out: folder of the run.
        seed: seed of the run.
        extra: further flags, which win over those of the study and the arm.

    Raises:
        InputError: `fasttok-train` does not know a flag, or does not accept its value.
    """
    return parse((*study.common, *arm.flags, "--seed", str(seed), *extra), data / arm.shards, out)


def parse(flags: tuple[str, ...], shards: Path, out: Path) -> TrainConfig:
    """Parses flags of `fasttok-train` into its configuration.

    Raises:
        InputError: `fasttok-train` does not know a flag, or does not accept its value.
    """
    words = ["--shards", str(shards), "--out", str(out), *flags]
    preset = preset_from(words)
    try:
        return tyro.cli(TrainConfig, default=preset, args=words, prog="fasttok-train", console_outputs=False)
    except SystemExit:
        raise InputError(f"fasttok-train does not understand: {shlex.join(flags)}; see fasttok-train --help") from None
