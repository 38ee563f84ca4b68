"""Runs `python -m pipelines`, which does the same as the console script fasttok-pipelines. The verbs are in `commands`."""

from fasttok.common.start import start


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: what `commands.main` raises.
    """
    from pipelines.commands import main as run

    run(argv)


def script() -> None:
    """Runs the console script."""
    start("fasttok-pipelines", "pipelines.commands")


if __name__ == "__main__":
    script()
