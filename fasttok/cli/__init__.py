"""The command line: fasttok fit | eval | encode | decode | inspect | info, with one module per command."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from fasttok.common.start import start

if TYPE_CHECKING:
    from fasttok.cli.decode import Decode
    from fasttok.cli.encode import Encode
    from fasttok.cli.evaluate import Eval
    from fasttok.cli.fit import Fit
    from fasttok.cli.info import Info
    from fasttok.cli.inspect_chunks import Inspect

__all__ = ["Decode", "Encode", "Eval", "Fit", "Info", "Inspect", "main"]


def main(argv: list[str] | None = None) -> NoReturn:
    """Parses and runs one command, and exits. This is the console script `fasttok`."""
    start("fasttok", "fasttok.cli.commands", argv=argv)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("fasttok.cli.commands"), name)
    raise AttributeError(f"module 'fasttok.cli' has no attribute {name!r}")
