"""Programs that run once, such as the drawing of random parameters: compiling is most of what they take."""

from collections.abc import Callable
from typing import Any

import jax


def jit_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `jax.jit`, but on a CPU XLA optimises less, which takes it a quarter of the time (4 s instead of 16 at --size debug)."""
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options)
