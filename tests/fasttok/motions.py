"""Chunks of a made-up robot whose joints move together."""

import numpy as np

T, C = 12, 6


def moving_together(n: int, seed: int = 0) -> np.ndarray:
    """Chunks whose six dims are mixtures of two motions."""
    rng = np.random.default_rng(seed)
    motions = np.cumsum(rng.normal(0, 0.12, (n, T, 2)), axis=1)
    return np.clip(motions @ np.array([[1, 0.8, 0.6, 0.5, -0.7, 0.1], [0, 0.5, -0.7, 0.4, 0.3, 0.9]]) * 0.7, -1, 1)
