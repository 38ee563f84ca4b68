"""How every console script begins: with nothing imported, so that Ctrl-C is one short line from the first moment on.

Importing numpy, numba or TensorFlow takes a second or more; a KeyboardInterrupt in there ends in a traceback of theirs, or in an
ImportError that hides it. Until a command's modules are there, nothing needs to be cleaned up, so the process just ends.
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
        name: of the console script.
        module: that contains the command; imported here.
        function: of the module, which gets the words after the script's name.
        argv: these words; those of the process by default.
    """
    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    try:
        if here:  # else somebody else sees to it, or it is ignored, as under nohup
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
