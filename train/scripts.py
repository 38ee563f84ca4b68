"""Console scripts whose modules other code imports, too."""

from fasttok.common.start import start
from train.devices.huge_pages import begin_again


def evaluate() -> None:
    """Runs the console script fasttok-evaluate."""
    begin_again()
    start("fasttok-evaluate", "train.evaluate", "command")


def export() -> None:
    """Runs the console script fasttok-export."""
    start("fasttok-export", "train.exports.command")


def serve() -> None:
    """Runs the console script fasttok-serve."""
    start("fasttok-serve", "train.serving.command", "command")
