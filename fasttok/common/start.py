"""Starts every console script, so that Ctrl-C prints one short line from the first moment on.

Importing numpy, numba or TensorFlow takes a second or more. A KeyboardInterrupt during such an import ends in a traceback of that
library, or in an ImportError that hides it. Until a command's modules are imported, there is nothing to clean up, so the process
just ends.
"""

import os
import signal
import sys
import threading
from importlib import import_module
from typing import NoReturn

INTERRUPTED = 130  # exit status of shells for SIGINT


def start(name: str, module: str, function: str = "main", argv: list[str] | None = None) -> NoReturn:
    """Runs a command, and exits with its status.

    Args:
        name: name of the console script.
        module: dotted name of the module that contains the command; it is imported here.
        function: name of the function in the module, which gets the words after the script's name.
        argv: the words after the script's name; None for those of this process.
    """
    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    try:
        if here:  # otherwise another handler takes SIGINT, or it is ignored, as under nohup
            signal.signal(signal.SIGINT, _stop)
        command = getattr(import_module(module), function)
        from fasttok.common import console

        if here:
            signal.signal(signal.SIGINT, before)
    except KeyboardInterrupt:
        _stop()
    console.script(name, command, sys.argv[1:] if argv is None else argv)


def _stop(*_: object) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
