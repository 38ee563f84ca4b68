"""Compiles kernels with numba: once per machine, cached beside the source or in the user's cache. Kernels release the GIL."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

OPTIONS: Any = {"nogil": True, "error_model": "numpy"}


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compiles a function to a kernel. If no folder for the cache is writable, each process compiles it anew."""
    try:
        return njit(cache=True, **OPTIONS, **options)(function)
    except RuntimeError:  # numba: no locator available
        return njit(**OPTIONS, **options)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a part of a kernel. It is always inlined, because a call would pass each array as seven numbers."""
    return compiled(function, forceinline=True)


def announce(say: Callable[[str], None]) -> None:
    """Calls `say` the first time from now on that a kernel is compiled, not loaded from the cache: that takes seconds."""

    class Once(event.Listener):
        def on_start(self, _: event.Event) -> None:
            event.unregister("numba:compile", self)
            say("compiling for this machine (once; some ten seconds) ...")

        def on_end(self, _: event.Event) -> None:
            """Nothing to say."""

    event.register("numba:compile", Once())
