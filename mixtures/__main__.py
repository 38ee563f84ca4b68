"""`python -m mixtures` is the same as the console script fasttok-mixtures. The verbs are in `commands`."""

from fasttok.common.start import start


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: `commands.main` raised it.
    """
    from mixtures.commands import main as run

    run(argv)


def script() -> None:
    """Runs the console script."""
    start("fasttok-mixtures", "mixtures.commands")


if __name__ == "__main__":
    script()
