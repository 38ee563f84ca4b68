"""How kernels are compiled: once a machine, kept beside the source or in the user's cache, without the interpreter's lock."""

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: Any = {"nogil": True, "error_model": "numpy"}


def compiled(function: Callable, **options: Any) -> Any:
    """A kernel. Where no folder for the cache can be written, it is compiled anew in each process."""
    try:
        return njit(cache=True, **OPTIONS, **options)(function)
    except RuntimeError:  # numba: no locator available
        return njit(**OPTIONS, **options)(function)


def inlined(function: Callable) -> Any:
    """A part of a kernel: always inlined, as a call would pass each array as seven numbers."""
    return compiled(function, forceinline=True)
