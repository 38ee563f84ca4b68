"""Returns the command line of this process, as it was typed."""

import shlex
import sys
from pathlib import Path


def typed_command() -> str:
    """Returns what was typed, without the folder of the program, for pages that say how they were made.

    Bytes that are not UTF-8, which a name of a file may contain, are written as escapes, so that every page can be written.
    """
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["python", "-m", main.name.removesuffix(".__main__")] if main is not None else [Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]]).encode(errors="backslashreplace").decode()
