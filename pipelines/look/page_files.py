"""Chooses, checks and writes the files of the pages of `check`, `inspect` and `stats`."""

import posixpath
from typing import Annotated

from fasttok.common.flags import optional
from fasttok.errors import InputError
from pipelines.common.files import atomic_write
from pipelines.common.output_url import check_output_url

# A flag whose value may be left out: None if the flag is not given, () if it is given without a value.
PagePath = Annotated[tuple[str, ...] | None, optional("[FILE]")]


def page_path(given: tuple[str, ...] | None, shards: str, what: str) -> str | None:
    """Returns the path of a page, None if no page is asked for.

    Raises:
        InputError: several names are given.

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
    """Checks before the work that a page may be written, by the rule of `check_output_url`.

    Args:
        path: path of the page, None if no page is asked for.
        shards: folder or URL that the command reads; no file in it is replaced.
        overwrite: whether to replace a file that exists.

    Raises:
        InputError: a file or folder has that name, or the page cannot be written.
    """
    if path is not None:
        check_output_url(path, shards, overwrite=overwrite, flag="--html")


def write_page(path: str, page: str) -> None:
    """Writes a page that `check_page` has allowed.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(path) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None
