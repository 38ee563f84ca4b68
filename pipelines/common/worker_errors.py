"""Passes errors in a user's input from workers to the driver: a worker writes a file, and the driver reports the error once.

If the worker raised the error instead, the runner would print its traceback, once per try, and would retry what cannot work.
"""

import uuid

from fasttok.errors import InputError
from pipelines.common.files import filesystem, is_local, join, read_json, write_json

_STOPPED: set[str] = set()  # folders into which this process wrote


def stopped(folder: str) -> bool:
    """Returns whether a worker left an error, so that work need not begin.

    If the folder is not local, only errors of this process count: asking the store would cost a request.
    """
    fs, path = filesystem(folder)
    return folder in _STOPPED or (is_local(fs) and bool(fs.exists(path)))


def leave(folder: str, error: InputError) -> None:
    """Leaves an error for the driver.

    Raises:
        InputError: the given error, if the file cannot be written.
    """
    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    try:
        write_json(join(folder, f"{uuid.uuid4().hex}.json"), said)
    except (OSError, InputError):
        raise error from None
    _STOPPED.add(folder)


def raise_left(folder: str) -> None:
    """Raises an error that workers left, if there is one.

    Raises:
        InputError: the first of the errors in alphabetical order, so that any number of workers gives the same one.
    """
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    files = fs.find(path) if fs.exists(path) else []
    left = sorted(str(read_json(join(folder, file.rsplit("/", 1)[-1]), "an error of a worker")) for file in files)
    if left:
        raise InputError(left[0])
