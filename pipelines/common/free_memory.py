"""Returns freed memory to the system, so that a worker with many jobs needs no more memory than its largest job."""

import ctypes
import gc
from functools import cache


def free_memory() -> None:
    """Asks the C library to return freed memory to the system; does nothing if the library cannot do that.

    glibc keeps freed memory that is between pieces in use. In a build that read large pictures and small files in turn, that
    memory grew by 50 MB per shard.
    """
    gc.collect()  # objects that refer to each other, such as a reader and its thread
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> "ctypes._FuncPointer | None":
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
