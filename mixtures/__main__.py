"""`python -m mixtures`, the same as the console script fasttok-mixtures; the verbs are in `commands`."""

from fasttok.common.start import start


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: what `commands.main` raises.
    """
    from mixtures.commands import main as run

    run(argv)


def script() -> None:
    """The console script."""
    start("fasttok-mixtures", "mixtures.commands")


if __name__ == "__main__":
    script()
