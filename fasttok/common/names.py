"""Checks names and texts that come from other people's files: no name leads out of its folder, and every text can be written."""

import re

from fasttok.errors import InputError

LONGEST = 200  # bytes; file systems allow 255, and we add suffixes
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')


def plain_name(name: object, what: str, where: str) -> str:
    """Checks a name that becomes the name of a file or a folder, and returns it.

    Args:
        name: the name, as it was read.
        what: what kind of name it is, for messages, such as "dataset name".
        where: the file that contains the name, for messages.

    Raises:
        InputError: the name is not text, is empty or too long, begins with a dot, a blank or `~`, ends with a dot or a blank, or
            contains a character that means something in a path or that some system forbids in names.

    >>> plain_name("bridge_dataset", "dataset name", "dataset.yaml")
    'bridge_dataset'
    >>> plain_name("../../evil", "dataset name", "dataset.yaml")
    Traceback (most recent call last):
    fasttok.errors.InputError: dataset.yaml: the dataset name '../../evil' cannot be a folder's name; ...
    """
    if (
        not isinstance(name, str)
        or not name
        or name[0] in ". ~"
        or name[-1] in ". "
        or FORBIDDEN.search(name)
        or len(name.encode()) > LONGEST
    ):
        shown = name if not isinstance(name, str) or len(name) <= LONGEST else f"{name[:40]}..."
        raise InputError(
            f"{where}: the {what} {shown!r} cannot be a folder's name; expected letters, digits, '_', '-' or '.', "
            f"not a dot at either end, and at most {LONGEST} bytes"
        )
    return name


def relative_path(name: object, where: str) -> str:
    """Checks a path that a file gives relative to its own folder, and returns it.

    Raises:
        InputError: the path is not text, is empty or absolute, or contains `..`, a backslash, a URL, `::` or a NUL.

    >>> relative_path("shard-00000-of-00001.arrow", "manifest.json")
    'shard-00000-of-00001.arrow'
    """
    if (
        not isinstance(name, str)
        or not name
        or name.startswith("/")
        or ".." in name.split("/")
        or "\\" in name
        or "::" in name
        or "://" in name
        or "\x00" in name
    ):
        raise InputError(f"{where}: the path {name!r} leaves its folder; expected a relative path without '..'")
    return name


def one_piece(name: object, where: str) -> str:
    """Checks a path as `relative_path` does, and that it is one name without folders.

    >>> one_piece("a/b", "index.json")
    Traceback (most recent call last):
    fasttok.errors.InputError: index.json: the path 'a/b' leaves its folder; expected one name without '/'
    """
    name = relative_path(name, where)
    if "/" in name or name == ".":
        raise InputError(f"{where}: the path {name!r} leaves its folder; expected one name without '/'")
    return name


def is_beside(path: str) -> bool:
    """Returns whether a path is one of the `._` files that macOS leaves beside others, and puts into archives.

    >>> is_beside("images/._0.jpg"), is_beside("._images/0.jpg")
    (True, False)
    """
    return path.rsplit("/", 1)[-1].startswith("._")


def check_utf8(path: str, why: str) -> None:
    r"""Refuses a path that is not UTF-8.

    Args:
        path: the path.
        why: why it has to be, for the message.

    Raises:
        InputError: the path is not UTF-8.

    >>> check_utf8("d\udce9mo", "so an INDEX cannot name it")
    Traceback (most recent call last):
    fasttok.errors.InputError: 'd\udce9mo': this path is not UTF-8, so an INDEX cannot name it; rename the file or folder
    """
    if not is_unicode(path):
        raise InputError(f"{path!r}: this path is not UTF-8, {why}; rename the file or folder")


def is_unicode(text: str) -> bool:
    """Returns whether a text can be written as UTF-8.

    Halves of characters cannot. Escapes in JSON can name them, and Python makes them of bytes that are not UTF-8.

    >>> is_unicode("ä"), is_unicode(chr(0xD800))
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
