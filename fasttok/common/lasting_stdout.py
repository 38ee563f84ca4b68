"""Lets a command finish its work if nobody reads its output any more.

After `| head`, the pipe is closed as soon as `head` has its lines. Without this module, the next line that a command prints would
end it, before it saved what it made.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Pipe(io.FileIO):
    """A file whose bytes go nowhere from the moment on in which nobody reads them."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


class _Lasting(io.TextIOWrapper):
    """Text output through a `_Pipe`.

    Attributes:
        before: what it stands for, whose writes fail if nobody reads.
    """

    before: TextIO


@contextlib.contextmanager
def lasting_stdout() -> Iterator[None]:
    """Replaces stdout in the block, and flushes it at the end. A terminal, and what a test put there, stay."""
    if sys.stdout is None:  # the shell closed it: `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- for the rest of the process
    before = sys.stdout
    if before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper) or before.isatty():
        yield
        return
    before.flush()
    pipe = _Pipe(before.fileno(), "w", closefd=False)
    buffered = isinstance(before.buffer, io.BufferedWriter)  # it is not after `python -u`
    lasting = _Lasting(
        io.BufferedWriter(pipe) if buffered else pipe,
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    lasting.before = before
    sys.stdout = lasting
    try:
        yield
    finally:
        sys.stdout = before
        lasting.flush()


def stdout_that_ends() -> TextIO:
    """Returns stdout for rows that are the whole result: if nobody reads them any more, a write raises BrokenPipeError."""
    return getattr(sys.stdout, "before", sys.stdout)
