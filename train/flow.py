"""Flow matching as pi0 does it: time 1 is noise, 0 is data (the papers' time runs the other way).

x_t = t * noise + (1 - t) * actions        target u_t = noise - actions
"""

import jax
import jax.numpy as jnp
from jax import Array

SHORTEST_PERIOD, LONGEST_PERIOD = 4e-3, 4.0


def sample_time(key: Array, shape: tuple[int, ...]) -> Array:
    """Draws t ~ 0.999 * Beta(1.5, 1) + 0.001 as openpi does, which favours noisy times. By inversion: u ** (2/3)."""
    return 0.001 + 0.999 * jax.random.uniform(key, shape) ** (2 / 3)


def interpolate(actions: Array, noise: Array, time: Array) -> tuple[Array, Array]:
    """Mixes actions with noise, and returns the mix and its velocity towards noise.

    Args:
        actions: (..., H, D).
        noise: (..., H, D).
        time: (...), or (..., H) if each step has its own; 1 = noise.

    Returns:
        x_t and u_t, (..., H, D) each.
    """
    t = jnp.expand_dims(time, tuple(range(time.ndim - actions.ndim, 0)))
    return t * noise + (1 - t) * actions, noise - actions


def time_embedding(time: Array, dim: int) -> Array:
    """Returns sines, then cosines, of 2 pi t / period, with periods from 4e-3 to 4 in geometric steps: (...) -> (..., dim)."""
    fraction = jnp.linspace(0.0, 1.0, dim // 2)
    period = SHORTEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** fraction
    angle = time[..., None].astype(jnp.float32) * (2 * jnp.pi / period)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
