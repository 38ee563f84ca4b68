"""`python -m train`, the same as the console script fasttok-train."""

from fasttok.common.start import start
from train.devices.huge_pages import begin_again


def main(argv: list[str]) -> None:
    """Runs the command fasttok-train.

    Raises:
        InputError: as in `command.main`.
    """
    from train.command import main as run

    run(argv)


def script() -> None:
    """Runs the console script fasttok-train."""
    begin_again()
    start("fasttok-train", "train.command")


if __name__ == "__main__":
    script()
