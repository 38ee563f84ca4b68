"""`python -m train.study`, the same as the console script fasttok-study."""

from typing import TYPE_CHECKING, Any

from fasttok.common.start import start

if TYPE_CHECKING:
    from train.study.command import StudyConfig, main

__all__ = ["StudyConfig", "main", "script"]


def script() -> None:
    """The console script."""
    start("fasttok-study", "train.study.command", "command")


def __getattr__(name: str) -> Any:
    if name in ("StudyConfig", "main"):
        from train.study import command

        return getattr(command, name)
    raise AttributeError(f"module 'train.study.__main__' has no attribute {name!r}")


if __name__ == "__main__":
    script()
