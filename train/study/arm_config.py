"""The training configuration of an arm: its flags, read as `fasttok-train` reads them. Imports no JAX."""

import shlex
from pathlib import Path

import tyro

from fasttok.errors import InputError
from train.config import TrainConfig
from train.presets import preset_from
from train.study.spec import Arm, Study


def training(study: Study, arm: Arm, data: Path, out: Path, seed: int, extra: tuple[str, ...] = ()) -> TrainConfig:
    """The training of an arm, but for its steps.

    Args:
        study: gives the flags of all arms.
        arm: what is trained.
        data: folder of the study's shards.
        out: folder of the run.
        seed: of the run.
        extra: flags, which win over those of the study and the arm.

    Raises:
        InputError: a flag that `fasttok-train` does not know.
    """
    return parse((*study.common, *arm.flags, "--seed", str(seed), *extra), data / arm.shards, out)


def parse(flags: tuple[str, ...], shards: Path, out: Path) -> TrainConfig:
    """Flags of `fasttok-train` as its configuration.

    Raises:
        InputError: one that it does not know, or a value that does not fit.
    """
    words = ["--shards", str(shards), "--out", str(out), *flags]
    preset = preset_from(words)
    try:
        return tyro.cli(TrainConfig, default=preset, args=words, prog="fasttok-train", console_outputs=False)
    except SystemExit:
        raise InputError(f"fasttok-train does not understand: {shlex.join(flags)}; see fasttok-train --help") from None
