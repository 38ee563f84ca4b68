"""Where `inspect` and `stats` put their pages."""

import posixpath
from typing import Annotated

import tyro

from fasttok.errors import InputError
from pipelines.common.files import atomic_write
from pipelines.common.output_url import check_output_url

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
    """Whether a page may be written there, before the work: the rule of `check_output_url`.

    Args:
        path: of the page, None if none is asked for.
        shards: folder or URL of what is read: no file of it is replaced.
        overwrite: whether to replace a file that is there.

    Raises:
        InputError: a file has that name, or a folder, or it cannot be written.
    """
    if path is not None:
        check_output_url(path, shards, overwrite=overwrite, flag="--html")


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
