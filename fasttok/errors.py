"""The one exception that means "the input is wrong", and the helpers that make its message useful.

A message says what is wrong and where, what was found, what was expected, and what to do next. Command lines print it without
a traceback (`fasttok.common.console.run`); every other exception is a bug and keeps its traceback.
"""

import difflib
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

MOST_NAMES = 40  # if there are more known names, a message does not list them


class InputError(ValueError):
    """Something the user gave (file, flag, array, YAML) cannot be used; the message says what to do next."""


def refused(error: OSError) -> InputError:
    """Turns an error of the operating system about a file into a message of one line.

    >>> print(refused(FileNotFoundError(2, "No such file or directory", "a.json")))
    a.json: No such file or directory
    """
    return InputError(f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}")


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """Returns the error for an unknown name, with the closest matches and the known names.

    >>> print(unknown_name("mixture", "dmeo", ["demo", "oxe_magic_soup"]))
    unknown mixture 'dmeo'; did you mean 'demo'? Known: demo, oxe_magic_soup
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    guess = f"; did you mean {' or '.join(map(repr, close))}?" if close else ";"
    listed = ", ".join(names) or "(none)" if len(names) <= MOST_NAMES else f"{len(names)} names"
    tail = f" Known: {listed}" + (f". {hint}" if hint else "")
    return InputError(f"unknown {kind} {name!r}{guess}{tail}")


def require_installed(modules: Iterable[str], extra: str, what: str) -> None:
    """Checks that optional dependencies are installed, without importing them, which may take seconds.

    Raises:
        InputError: one of them is not installed; the message is that of `require`.

    >>> require_installed(["json"], "all", "reading")
    """
    for module in modules:
        package = module.partition(".")[0]
        try:
            found = find_spec(package) is not None
        except (ImportError, ValueError):  # ValueError: it was imported and has no specification
            found = package in sys.modules
        if not found:
            raise missing_extra(package, extra, what)


def missing_extra(package: str, extra: str, what: str) -> InputError:
    """Returns the error for an optional dependency that is not installed."""
    return InputError(
        f"{what} needs the package {package!r}, which is not installed; run: pip install 'fasttok-vla[{extra}]'"
    )


def require(module: str, extra: str, what: str) -> ModuleType:
    """Imports an optional dependency. If it is not installed, the error names the pip command that installs it.

    Raises:
        InputError: `module` is not installed.

    >>> require("json", "all", "reading").__name__
    'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module is installed, but something that it imports is not: keep this error
        raise missing_extra(error.name, extra, what) from None
