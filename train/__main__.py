"""`python -m train`, the same as the console script fasttok-train."""

from fasttok.common.start import start
from train.devices.huge_pages import begin_again


def main(argv: list[str]) -> None:
    """Trains.

    Raises:
        InputError: what `command.main` raises.
    """
    from train.command import main as run

    run(argv)


def script() -> None:
    """The console script."""
    begin_again()
    start("fasttok-train", "train.command")


if __name__ == "__main__":
    script()
