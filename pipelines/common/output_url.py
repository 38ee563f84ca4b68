"""Decides whether a command may write a file, by the rule of `fasttok.common.output_file`; also for URLs."""

from pathlib import Path

from fsspec import AbstractFileSystem

from fasttok.common.output_file import check_writable
from fasttok.common.stores import kind_at
from fasttok.errors import InputError
from pipelines.common.files import filesystem, is_local

PAGE = b"<!doctype html>"


def check_output_url(url: str, read: str = "", *, overwrite: bool = False, flag: str = "--out") -> None:
    """Refuses a file that may not be written. Changes nothing.

    Args:
        url: path or URL of the file.
        read: folder or URL that the command reads, in which no file is replaced; "" for none.
        overwrite: whether to replace a file that exists.
        flag: option that names the file, for messages.

    Raises:
        InputError: the file exists and may not be replaced, is a folder, or cannot be written.
    """
    fs, place = filesystem(url)
    try:
        _check(url, fs, place, read, overwrite, flag)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{url} cannot be written ({error.strerror or error}); give {flag} another FILE") from None
    if is_local(fs):
        check_writable(Path(place).parent, url, f"another FILE for {flag}", Path(place).name)


def _check(url: str, fs: AbstractFileSystem, place: str, read: str, overwrite: bool, flag: str) -> None:
    there = kind_at(fs, place)
    if there == "directory":
        raise InputError(f"{url} is a folder{' and not a page' * (flag == '--html')}; give {flag} a file's name")
    if not there:
        return
    if not overwrite:
        what = "exists" if flag != "--html" or fs.head(place, len(PAGE)) == PAGE else "exists and is not a page"
        raise InputError(f"{url} {what}; pass --overwrite to replace it, or give {flag} another FILE")
    other, folder = filesystem(read) if read else (fs, "")
    if folder and type(other) is type(fs) and place.startswith(folder.rstrip("/") + "/"):
        raise InputError(
            f"{url} is in {read}, which the command reads, so it will not be overwritten; give {flag} another FILE"
        )
