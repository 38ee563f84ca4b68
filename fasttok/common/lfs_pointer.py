"""Recognises Git LFS pointers: the short texts that Git LFS leaves in place of files that were not downloaded.

An error then says so, instead of calling the data damaged. Readers look for a pointer only if a file is not what they expect, so
sound files cost nothing.
"""

from fasttok.common.stores import open_file
from fasttok.errors import InputError

FIRST_LINE = b"version https://git-lfs.github.com/spec/v1"
POINTER = "this is a Git LFS pointer, not the data: run `git lfs pull` where the files come from"


def is_pointer(head: bytes) -> bool:
    r"""Returns whether a file that begins with these bytes is a pointer.

    >>> is_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a..."), is_pointer(b"PAR1")
    (True, False)
    """
    return head.startswith(FIRST_LINE)


def refuse_pointer(head: str | bytes, where: str) -> None:
    """Refuses a file if its beginning shows that it is a pointer.

    Args:
        head: first bytes of the file, or all of it.
        where: path or URL of the file.

    Raises:
        InputError: the file is a pointer.
    """
    start = head[: len(FIRST_LINE)]
    if is_pointer(start.encode(errors="replace") if isinstance(start, str) else start):
        raise InputError(f"{where}: {POINTER}")


def refuse_pointer_at(path: str) -> None:
    """Refuses a file that could not be read as what it should be, if it is a pointer.

    A file that cannot be opened counts as no pointer.

    Args:
        path: path or URL of the file.

    Raises:
        InputError: the file is a pointer.
    """
    try:
        with open_file(path) as stream:
            head = stream.read(len(FIRST_LINE))
    except (OSError, ValueError, ImportError):
        return
    refuse_pointer(head, path)
