"""Git LFS leaves a short text in place of each file that was not downloaded: it is named as that, not as damaged data.

Readers look only when a file is not what they expect, so files that are sound cost nothing.
"""

from fasttok.common.stores import open_file
from fasttok.errors import InputError

FIRST_LINE = b"version https://git-lfs.github.com/spec/v1"
POINTER = "this is a Git LFS pointer, not the data: run `git lfs pull` where the files come from"


def is_pointer(head: bytes) -> bool:
    r"""Whether a file that begins so is a pointer.

    >>> is_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a..."), is_pointer(b"PAR1")
    (True, False)
    """
    return head.startswith(FIRST_LINE)


def refuse_pointer(head: str | bytes, where: str) -> None:
    """Refuses a file that begins so if it is a pointer.

    Args:
        head: its first bytes, or all of it.
        where: its path or URL.

    Raises:
        InputError: it is one.
    """
    start = head[: len(FIRST_LINE)]
    if is_pointer(start.encode(errors="replace") if isinstance(start, str) else start):
        raise InputError(f"{where}: {POINTER}")


def refuse_pointer_at(path: str) -> None:
    """As `refuse_pointer`, of a file that could not be read as what it should be; one that cannot be opened is none.

    Args:
        path: path or URL of the file.

    Raises:
        InputError: it is one.
    """
    try:
        with open_file(path) as stream:
            head = stream.read(len(FIRST_LINE))
    except (OSError, ValueError, ImportError):
        return
    refuse_pointer(head, path)
