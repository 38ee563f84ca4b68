"""Paths of a command line that are not there are refused at once, before anything slow is imported; a typo gets a suggestion."""

import difflib
import os
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from fasttok.common.urls import is_url
from fasttok.errors import InputError

MOST_NAMES = 10_000  # of a folder that are compared


def did_you_mean(path: str | os.PathLike[str]) -> str:
    """What a local path that is not there was probably meant to be, in brackets with a blank before; "" if nothing is like it.

    The first part of the path that is missing is compared with what is beside it.
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
    """Refuses local data of `fasttok` that is not there; URLs are looked at when they are opened.

    Raises:
        InputError: names the first.
    """
    if (path := first_missing(paths)) is not None:
        raise no_data(path)


def first_missing(paths: Iterable[str]) -> str | None:
    """The first local path that is not there, if any."""
    return next((path for path in paths if not is_url(path) and not Path(path).exists()), None)


def no_data(path: str) -> InputError:
    """The error for data that is not there."""
    return InputError(
        f"{path} does not exist{did_you_mean(path)}; expected an INDEX, an RLDS directory, a LeRobot folder, or npz, npy, "
        "parquet or HDF5 files"
    )


def check_tokenizer(path: Path, data: Iterable[str] = ("DATA",)) -> None:
    """Refuses the folder of a tokenizer that is not there.

    Args:
        path: the folder.
        data: what a tokenizer could be fitted on, for the message.

    Raises:
        InputError: it is no folder.
    """
    if not path.is_dir():
        fit = " ".join(word if word == "DATA" else shlex.quote(word) for word in data)
        raise InputError(
            f"{path} is not a tokenizer folder: no such folder{did_you_mean(path)}; make one with: fasttok fit {fit} --out {path}"
        )
