"""Where `inspect` and `stats` put their pages."""

import posixpath
from pathlib import Path
from typing import Annotated

import tyro
from fsspec import AbstractFileSystem

from fasttok.common.output_file import check_writable
from fasttok.common.stores import kind_at
from fasttok.errors import InputError
from pipelines.common.files import atomic_write, filesystem, is_local

BEGINS = b"<!doctype html>"
# A flag whose value may be left out: None: not given, (): given alone.
PagePath = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[FILE]")]


def page_path(given: tuple[str, ...] | None, shards: str, what: str) -> str | None:
    """Where a page goes, None where none is asked for.

    Raises:
        InputError: several names.

    >>> page_path((), "gs://bucket/runs/soup/", "inspect")
    'soup.inspect.html'
    """
    if given is None:
        return None
    if len(given) > 1:
        raise InputError(f"--html takes one FILE, got {len(given)}: {' '.join(given)}")
    name = posixpath.basename(shards.rstrip("/")) or "shards"
    return given[0] if given else f"{'shards' if name in ('.', '..') else name}.{what}.html"


def check_page(path: str | None, shards: str = "", *, overwrite: bool = False) -> None:
    """Whether a page may be written there, before the work: the rule of `check_output_file`, also for URLs.

    Args:
        path: of the page, None if none is asked for.
        shards: folder or URL of what is read: no file of it is replaced.
        overwrite: whether a file that is there is to be replaced.

    Raises:
        InputError: a file has that name, or a folder, or it cannot be written.
    """
    if path is None:
        return
    fs, place = filesystem(path)
    try:
        _check(path, fs, place, shards, overwrite)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None
    if is_local(fs):
        check_writable(Path(place).parent, path, "another FILE for --html", Path(place).name)


def _check(path: str, fs: AbstractFileSystem, place: str, shards: str, overwrite: bool) -> None:
    there = kind_at(fs, place)
    if there == "directory":
        raise InputError(f"{path} is a folder and not a page; give --html a file's name")
    if not there:
        return
    if not overwrite:
        what = "exists" if fs.head(place, len(BEGINS)) == BEGINS else "exists and is not a page"
        raise InputError(f"{path} {what}; pass --overwrite to replace it, or give --html another FILE")
    other, folder = filesystem(shards) if shards else (fs, "")
    if folder and type(other) is type(fs) and place.startswith(folder.rstrip("/") + "/"):
        raise InputError(f"{path} lies in {shards}, which is read, so it is left alone; give --html another FILE")


def write_page(path: str, page: str) -> None:
    """Writes a page, of which `check_page` was asked.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(path) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None
