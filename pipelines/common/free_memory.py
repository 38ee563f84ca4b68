"""Gives memory back to the system that was freed, so that a worker of many jobs needs no more than its largest job does."""

import ctypes
import gc
from functools import cache


def free_memory() -> None:
    """Asks the C library for it; does nothing where that cannot.

    glibc keeps what was freed between pieces that are in use: with large pictures and small files in turn, that grew by 50 MB
    with each shard of a build.
    """
    gc.collect()  # what refers to itself in a circle, such as a reader and its thread
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> "ctypes._FuncPointer | None":
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
