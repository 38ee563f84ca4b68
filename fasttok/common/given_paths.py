"""Checks that the paths of a command line exist, before anything slow is imported, and suggests a path for a typo."""

import difflib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from fasttok.common.next_command import command
from fasttok.common.urls import is_url
from fasttok.errors import InputError

MOST_NAMES = 10_000  # names in a folder that are compared with the typo


def did_you_mean(path: str | os.PathLike[str]) -> str:
    """Returns a suggestion for a local path that does not exist, such as " (did you mean data/index?)"; "" for none.

    The first missing part of the path is compared with the names beside it.
    """
    missing, rest = Path(path), Path()
    while not missing.parent.is_dir():
        if missing == missing.parent:
            return ""
        missing, rest = missing.parent, Path(missing.name) / rest
    try:
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, MOST_NAMES)]
    except OSError:
        return ""
    close = difflib.get_close_matches(missing.name, names, n=1)
    if not close:
        return ""
    found = missing.parent / close[0]
    return f" (did you mean {found / rest if (found / rest).exists() else found}?)"


def check_data(paths: Iterable[str]) -> None:
    """Checks that local data for `fasttok` exists. URLs are checked when they are opened.

    Raises:
        InputError: data is missing; the error names the first missing path.
    """
    if (path := first_missing(paths)) is not None:
        raise no_data(path)


def first_missing(paths: Iterable[str]) -> str | None:
    """Returns the first local path that does not exist, None if all do."""
    return next((path for path in paths if not is_url(path) and not Path(path).exists()), None)


def no_data(path: str) -> InputError:
    """Returns the error for data that does not exist."""
    return InputError(
        f"{path} does not exist{did_you_mean(path)}; expected an INDEX, an RLDS directory, a LeRobot folder, or npz, npy, "
        "parquet or HDF5 files"
    )


def check_tokenizer(path: Path, data: Iterable[str] = ("DATA",)) -> None:
    """Checks that the folder of a tokenizer exists.

    Args:
        path: the folder.
        data: paths that a tokenizer could be fitted on, for the message.

    Raises:
        InputError: `path` is not a folder.
    """
    if not path.is_dir():
        fit = command("fasttok", "fit", *data, "--out", path)
        raise InputError(f"{path} is not a tokenizer folder: no such folder{did_you_mean(path)}; make one with: {fit}")
