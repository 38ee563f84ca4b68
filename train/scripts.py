"""The console scripts of modules that are imported for other things, too."""

from fasttok.common.start import start
from train.devices.huge_pages import begin_again


def evaluate() -> None:
    """The console script fasttok-evaluate."""
    begin_again()
    start("fasttok-evaluate", "train.evaluate", "command")


def export() -> None:
    """The console script fasttok-export."""
    start("fasttok-export", "train.exports.command")


def serve() -> None:
    """The console script fasttok-serve."""
    start("fasttok-serve", "train.serving.command", "command")
