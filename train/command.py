"""The command line of fasttok-train, such as fasttok-train --preset ki --size debug --shards SHARDS --out RUN."""

import sys

import tyro
from rich.console import Console

from fasttok.common import completion
from fasttok.errors import InputError, require, unknown_name
from train.config import TrainConfig
from train.devices.jax_setup import set_up_jax
from train.given_paths import check_training
from train.options import CHOICES, show_help
from train.presets import PRESETS, SIZES, preset_from

HELP = {"-h", "--help"}


def main(argv: list[str]) -> None:
    """Runs `fasttok-train`, or `fasttok-train report` if the first word says so.

    It reads --preset and --size first, because the other flags change the settings that these two choose.
    """
    if completion.is_asked(argv):
        from train.report.command import ReportConfig

        choices = {
            flag: tuple(values.removesuffix(" ...").split("|")) for flag, values in CHOICES.items() if "|" in values
        }
        verbs = {
            "": completion.CompletedVerb(TrainConfig, (), choices),
            "report": completion.CompletedVerb(ReportConfig),
        }
        completion.print_completion("fasttok-train", verbs, argv)
        return
    if argv[:1] == ["report"]:
        from train.report.command import command as report

        report(argv[1:])
        return
    if argv and not argv[0].startswith("-"):
        raise unknown_name(
            "word", argv[0], ["report"], "To train, begin with a flag: fasttok-train --shards SHARDS --out RUN"
        )
    preset = preset_from(argv)
    if HELP & set(argv):
        show_help(
            Console(highlight=False),
            [
                "usage: fasttok-train --shards SHARDS --out RUN [OPTIONS]\n"
                "       fasttok-train report RUN [RUN ...] [--out PAGE]",
                "Trains a vision-language-action model on three losses: text answers (L_VLM), FAST action tokens (L_FAST), and "
                "the flow matching of the action expert (L_FLOW, times --alpha).",
                "Example: fasttok-train --preset ki --size debug --shards SHARDS --out RUN --steps 2000",
                "`fasttok-train report RUN` makes a page of what a run has logged, while it trains or afterwards.",
                f"Presets: {', '.join(PRESETS)}. Sizes: {', '.join(SIZES)}.",
            ],
            preset,
        )
        return
    required = [flag for flag in ("--shards", "--out") if not any(w == flag or w.startswith(flag + "=") for w in argv)]
    if required:
        raise InputError(
            f"{' and '.join(required)} missing; example: fasttok-train --preset ki --shards SHARDS --out RUN (or draw a run: "
            "fasttok-train report RUN)"
        )
    config = tyro.cli(TrainConfig, default=preset, args=argv, prog="fasttok-train")
    # `train.loop` would find the same errors, but only after JAX was imported, which takes seconds.
    if "jax" not in sys.modules:
        check_training(config)
    set_up_jax()
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "training")
    from train.loop import run as train

    train(config)
