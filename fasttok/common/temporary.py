"""Temporary files without a name: they are gone when they are closed, or when the process ends, however it ends."""

import tempfile
from typing import IO


def unnamed_file() -> IO[bytes]:
    """An empty file to write and read; its owner closes it."""
    return tempfile.TemporaryFile()
