"""What is wrong with a user's input, found by a worker: left in a file for the driver, which says it once.

Raised in a worker, a runner would print its traceback, once per try, and try again what cannot work.
"""

import uuid

from fasttok.errors import InputError
from pipelines.common.files import filesystem, is_local, join, read_json, write_json

_STOPPED: set[str] = set()  # folders into which this process wrote


def stopped(folder: str) -> bool:
    """Whether an error was left, by this process or where looking costs nothing: work that was not begun is not needed then."""
    fs, path = filesystem(folder)
    return folder in _STOPPED or (is_local(fs) and bool(fs.exists(path)))


def leave(folder: str, error: InputError) -> None:
    """Leaves an error for the driver.

    Raises:
        InputError: the same, if it cannot be written.
    """
    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    try:
        write_json(join(folder, f"{uuid.uuid4().hex}.json"), said)
    except (OSError, InputError):
        raise error from None
    _STOPPED.add(folder)


def raise_left(folder: str) -> None:
    """Raises what workers left.

    Raises:
        InputError: one of them, the first in alphabetical order, so that any number of workers gives the same.
    """
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    files = fs.find(path) if fs.exists(path) else []
    left = sorted(str(read_json(join(folder, file.rsplit("/", 1)[-1]), "an error of a worker")) for file in files)
    if left:
        raise InputError(left[0])
