"""The learned transform, compiled: a basis over time, a rotation of the dims at each frequency, rounding, a new order.

Sums are taken in one order whatever the batch, so that a chunk has the same coefficients alone and among others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled, inlined


@inlined
def _along_time(
    x: NDArray[Any], y: NDArray[Any], basis: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]
) -> None:
    """The products of two chunks' steps with all directions; four steps at once, since memory is slower than sums.

    Args:
        x: (T,) a dim of one chunk.
        y: (T,) of the other.
        basis: as in `forward_rows`.
        left: (T,) products of `x`.
        right: (T,) of `y`.
    """
    steps = len(x)
    whole = steps // 4 * 4
    left[:], right[:] = 0.0, 0.0
    for t in range(0, whole, 4):
        p, q, r, s = x[t], x[t + 1], x[t + 2], x[t + 3]
        i, j, k, m = y[t], y[t + 1], y[t + 2], y[t + 3]
        for f in range(steps):
            u, v, w, z = basis[t, f], basis[t + 1, f], basis[t + 2, f], basis[t + 3, f]
            left[f] += p * u + q * v + (r * w + s * z)
            right[f] += i * u + j * v + (k * w + m * z)
    for t in range(whole, steps):
        for f in range(steps):
            left[f] += x[t] * basis[t, f]
            right[f] += y[t] * basis[t, f]


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
    values, turned = np.empty((2, dims, steps)), np.empty((2, dims))
    for b in range(0, len(x), 2):
        other = min(b + 1, len(x) - 1)  # two chunks for each number that is read of the transform
        for c in range(dims):
            if basis.shape[0]:
                _along_time(x[b, :, c], x[other, :, c], basis, values[0, c], values[1, c])
            else:
                values[0, c], values[1, c] = x[b, :, c], x[other, :, c]
        for f in range(steps):
            if rotations.shape[0]:
                turned[:] = 0.0
                for c in range(dims):
                    p, q = values[0, c, f], values[1, c, f]
                    for d in range(dims):
                        turned[0, d] += p * rotations[f, c, d]
                        turned[1, d] += q * rotations[f, c, d]
            else:
                turned[:] = values[:, :, f]
            for i in range(1 + other - b):
                for d in range(dims):
                    value = turned[i, d] * factor
                    if dead >= 0.0:
                        value = np.rint(value) if abs(value) >= dead or value != value else 0.0
                    out[b + i, places[f * dims + d]] = value


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
