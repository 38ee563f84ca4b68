"""Compiles programs that run only once, such as drawing random parameters. Compiling takes most of their time."""

from collections.abc import Callable
from typing import Any

import jax


def jit_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles as `jax.jit` does, but with less optimisation on a CPU.

    Compiling then takes a quarter of the time (4 s instead of 16 s at --size debug).
    """
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options)
