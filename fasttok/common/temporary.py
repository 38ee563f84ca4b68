"""Makes temporary files without a name. They are gone when they are closed or when the process ends, however it ends."""

import tempfile
from typing import IO


def unnamed_file() -> IO[bytes]:
    """Returns an empty file for writing and reading; the caller closes it."""
    return tempfile.TemporaryFile()
