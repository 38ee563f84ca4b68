"""The learned transform, compiled: a basis over time, a rotation of the dims at each frequency, rounding, a new order.

Sums are taken in one order whatever the batch, so that a chunk has the same coefficients alone and among others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled


@compiled
def forward_rows(
    x: NDArray[Any],
    basis: NDArray[np.float64],
    rotations: NDArray[np.float64],
    places: NDArray[np.int64],
    factor: float,
    dead: float,
    out: NDArray[np.float64],
) -> None:
    """Chunks to coefficients.

    Args:
        x: (B, T, C) chunks; where there is no basis, their DCT.
        basis: (T, T) each row a step, each column a frequency; (0, 0) for none.
        rotations: (T, C, C) at each frequency, a row for each dim; (0, 0, 0) for none.
        places: (T * C,) where coefficient d of frequency f, number f * C + d, goes.
        factor: what coefficients are multiplied with.
        dead: coefficients become whole numbers, and 0 below this threshold; negative: they stay as they are.
        out: (B, T * C) the coefficients.
    """
    steps, dims = x.shape[1], x.shape[2]
    values, turned = np.empty((steps, dims)), np.empty(dims)
    for b in range(len(x)):
        if basis.shape[0]:
            values[:] = 0.0
            for t in range(steps):
                for f in range(steps):
                    weight = basis[t, f]
                    for c in range(dims):
                        values[f, c] += weight * x[b, t, c]
        else:
            for t in range(steps):
                for c in range(dims):
                    values[t, c] = x[b, t, c]
        for f in range(steps):
            if rotations.shape[0]:
                turned[:] = 0.0
                for c in range(dims):
                    value = values[f, c]
                    for d in range(dims):
                        turned[d] += value * rotations[f, c, d]
            else:
                turned[:] = values[f]
            for d in range(dims):
                value = turned[d] * factor
                if dead >= 0.0:
                    value = np.rint(value) if abs(value) >= dead or value != value else 0.0
                out[b, places[f * dims + d]] = value


@compiled
def backward_rows(
    coefs: NDArray[np.float64],
    basis: NDArray[np.float64],
    rotations: NDArray[np.float64],
    places: NDArray[np.int64],
    factor: float,
    out: NDArray[np.float64],
) -> None:
    """The inverse of `forward_rows`, with the transposes of both: coefficients (B, T * C) to chunks, or to their DCT, (B, T, C).

    Args:
        coefs: (B, T * C).
        basis: (T, T) the transpose of that of `forward_rows`: each row a frequency, each column a step; (0, 0) for none.
        rotations: (T, C, C) the transposes of those of `forward_rows`; (0, 0, 0) for none.
        places: as in `forward_rows`.
        factor: what coefficients were multiplied with.
        out: (B, T, C) the chunks.
    """
    steps, dims = out.shape[1], out.shape[2]
    turned = np.empty(dims)
    for b in range(len(coefs)):
        if basis.shape[0]:
            out[b] = 0.0
        for f in range(steps):
            turned[:] = 0.0
            zero = True
            for d in range(dims):
                value = coefs[b, places[f * dims + d]] / factor
                if value != 0.0:
                    zero = False
                if rotations.shape[0]:
                    if value != 0.0:
                        for c in range(dims):
                            turned[c] += value * rotations[f, d, c]
                else:
                    turned[d] = value
            if not basis.shape[0]:
                out[b, f] = turned
            elif not zero:
                for t in range(steps):
                    weight = basis[f, t]
                    for c in range(dims):
                        out[b, t, c] += weight * turned[c]
