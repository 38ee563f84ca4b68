"""Parses the words after `fasttok`, and runs the command.

The modules of the commands do not import numpy. Each command's `run` imports what it needs, so that --help answers at once.
"""

from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from fasttok.cli.decode import Decode
from fasttok.cli.encode import Encode
from fasttok.cli.evaluate import Eval
from fasttok.cli.fit import Fit
from fasttok.cli.info import Info
from fasttok.cli.inspect_chunks import Inspect
from fasttok.common import completion, console

__all__ = ["Decode", "Encode", "Eval", "Fit", "Info", "Inspect", "main"]

Command = Annotated[
    Annotated[Fit, subcommand("fit")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Decode, subcommand("decode")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Info, subcommand("info")],
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
]
VERBS = {"fit": Fit, "eval": Eval, "encode": Encode, "decode": Decode, "inspect": Inspect, "info": Info}
DESCRIPTION = """Fits, uses and measures FAST tokenizers, which turn chunks of robot actions into a few tokens.

Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0
"""


def main(argv: list[str]) -> None:
    """Parses and runs one command.

    Raises:
        InputError: the command raised it.
    """
    if completion.is_asked(argv):
        completion.print_completion(
            "fasttok", {name: completion.CompletedVerb(kind) for name, kind in VERBS.items()}, argv
        )
        return
    command: Fit | Eval | Encode | Decode | Inspect | Info = tyro.cli(
        Command, prog="fasttok", description=DESCRIPTION, args=argv
    )
    if not isinstance(command, Info):
        from fasttok.common import jit

        jit.announce(console.log)
    command.run()
