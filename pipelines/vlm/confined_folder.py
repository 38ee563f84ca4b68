"""Opens files that data names, below a dataset's directory. Other people wrote the data, so nothing outside is ever opened."""

import errno
import os
import posixpath
import re
import stat
from pathlib import Path
from typing import BinaryIO, cast

from pipelines.common.files import filesystem, is_local
from pipelines.common.image_headers import MAX_BYTES
from pipelines.vlm.record import RecordError, shown

ABSENT = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


def check_name(name: str) -> str:
    """Returns why a relative name may not be opened, "" if it may.

    >>> check_name("a/12:30:05.jpg"), check_name("../b.jpg"), check_name("s3://b.jpg"), check_name("C:/b.jpg"), check_name("")
    ('', 'leads out of the images folder', 'leads out of the images folder', 'leads out of the images folder', 'no name')
    """
    if not name.strip("/") or posixpath.normpath(name) == ".":
        return "no name"
    # The pattern finds a path from the root, one of a home or of a drive, a URL, and a chain of URLs.
    if re.search(r"^[/\\~]|^[A-Za-z]:([/\\]|$)|://|::", name) or ".." in name.replace("\\", "/").split("/"):
        return "leads out of the images folder"
    if re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", name):
        return "contains a backslash or a character that no name has"
    return ""


class ConfinedFolder:
    """A dataset's directory, whose files are opened by their relative names."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = filesystem(url)
        self.root = self.root.rstrip("/")
        self.local = is_local(self.fs)
        self._real = os.path.realpath(self.root) + os.sep if self.local else ""

    def find(self, name: str) -> str:
        """Returns the path of a file by its relative name.

        Raises:
            RecordError: the name leads out of the directory; or a local file is missing, is not a plain file, or is a link that
                leads out of the directory.
        """
        problem = check_name(name)
        if problem:
            raise RecordError("image", f"{shown(name)}: {problem}")
        path = f"{self.root}/{name}"
        if not self.local:
            return path
        try:
            real = os.path.realpath(path)
            if not self.inside(real):
                raise RecordError("image", f"{shown(name)}: a link that leads out of the dataset's directory")
            mode = Path(real).stat().st_mode
        except OSError as error:
            raise self._absent(name, error) from None
        if not stat.S_ISREG(mode):
            raise RecordError("image", f"{shown(name)}: not a plain file")
        return real

    def inside(self, path: str) -> bool:
        """Whether a path is the directory or below it, after links are followed. True for every path of a remote store."""
        return not self.local or (os.path.realpath(path) + os.sep).startswith(self._real)

    def read(self, name: str) -> bytes:
        """Reads a whole file of at most `MAX_BYTES`.

        Raises:
            RecordError: as `find`, or the file is larger, is missing, or may not be read.
        """
        path = self.find(name)
        try:
            if self.local and Path(path).stat().st_size > MAX_BYTES:
                raise RecordError(
                    "image", f"{shown(name)}: {Path(path).stat().st_size:,} bytes, more than {MAX_BYTES:,}"
                )
            return cast(bytes, self.fs.cat_file(path)) if self.local else self._at_most(path, name)
        except OSError as error:
            raise self._absent(name, error) from None

    def _at_most(self, path: str, name: str) -> bytes:
        """Reads a file of a store, at most one byte more than `MAX_BYTES`, to refuse larger ones."""
        try:
            data = cast(bytes, self.fs.cat_file(path, start=0, end=MAX_BYTES + 1))
        except Exception as error:
            if getattr(error, "code", None) != 416 and "InvalidRange" not in f"{error!r} {error.__cause__!r}":
                raise
            return b""  # a store may refuse a range of an empty file
        if len(data) > MAX_BYTES:
            raise RecordError("image", f"{shown(name)}: more than {MAX_BYTES:,} bytes")
        return data

    def open(self, name: str) -> BinaryIO:
        """Opens a file, for reading parts of it.

        Raises:
            RecordError: as `find`.
        """
        path = self.find(name)
        try:
            return cast(BinaryIO, self.fs.open(path, "rb"))
        except OSError as error:
            raise self._absent(name, error) from None

    def relative(self, file: str) -> str:
        """Returns a file's name below the directory, from its path or URL."""
        path, root = (str(self.fs._strip_protocol(name)) for name in (file, self.root))
        return path.removeprefix(root).lstrip("/")

    def _absent(self, name: str, error: OSError) -> Exception:
        """Returns a RecordError if the file is missing or may not be read, else the error itself, such as of a failing disk."""
        if isinstance(error, FileNotFoundError) or error.errno in ABSENT:
            return RecordError("image", f"{shown(name)}: no such image")
        if isinstance(error, PermissionError):
            return RecordError("image", f"{shown(name)}: may not be read")
        return error
