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


def check_page(path: str | None) -> None:
    """Whether a page may be written there, before the work; replaces only pages.

    Raises:
        InputError: something else has that name, or it cannot be written.
    """
    if path is None:
        return
    fs, place = filesystem(path)
    try:
        _check(path, fs, place)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None
    if is_local(fs):
        check_writable(Path(place).parent, path, "another FILE for --html", Path(place).name)


def _check(path: str, fs: AbstractFileSystem, place: str) -> None:
    if (there := kind_at(fs, place)) == "directory" or (there and fs.head(place, len(BEGINS)) != BEGINS):
        raise InputError(f"{path} exists and is not a page, so it is left alone; give --html another FILE")


def write_page(path: str, page: str) -> None:
    """Writes a page; replaces only pages.

    Raises:
        InputError: something else has that name, or it cannot be written.
    """
    fs, place = filesystem(path)
    try:
        _check(path, fs, place)
        with atomic_write(path) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None
