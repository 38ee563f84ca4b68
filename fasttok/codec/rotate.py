"""Computes the learned transform, compiled: a basis over time, a rotation of the dims at each frequency, rounding, a new order.

Sums are computed in the same order whatever the batch is, so that a chunk has the same coefficients alone and among others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled, inlined


@inlined
def _along_time(
    x: NDArray[Any], y: NDArray[Any], basis: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]
) -> None:
    """Multiplies the steps of two chunks with all directions; four steps at once, since memory is slower than sums.

    Args:
        x: (T,) a dim of one chunk.
        y: (T,) the same dim of the other chunk.
        basis: as in `forward_rows`.
        left: (T,) gets the products of `x`.
        right: (T,) gets the products of `y`.
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
    """Converts chunks to coefficients.

    Args:
        x: (B, T, C) chunks, or their DCT if there is no basis.
        basis: (T, T) each row a step, each column a frequency; (0, 0) for none.
        rotations: (T, C, C) at each frequency, a row for each dim; (0, 0, 0) for none.
        places: (T * C,) place of each coefficient in `out`; coefficient d of frequency f has the number f * C + d.
        factor: number that coefficients are multiplied with.
        dead: coefficients of a magnitude below this become 0, and the others are rounded; a negative number changes none.
        out: (B, T * C) gets the coefficients.
    """
    steps, dims = x.shape[1], x.shape[2]
    values, turned = np.empty((2, dims, steps)), np.empty((2, dims))
    for b in range(0, len(x), 2):
        other = min(b + 1, len(x) - 1)  # two chunks at once, so that the transform is read half as often
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
    """Computes the inverse of `forward_rows`: coefficients (B, T * C) to chunks, or to their DCT, (B, T, C).

    Args:
        coefs: (B, T * C) coefficients.
        basis: (T, T) transpose of the basis of `forward_rows`: each row a frequency, each column a step; (0, 0) for none.
        rotations: (T, C, C) transposes of the rotations of `forward_rows`; (0, 0, 0) for none.
        places: as in `forward_rows`.
        factor: number that coefficients were multiplied with.
        out: (B, T, C) gets the chunks, or their DCT if there is no basis.
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
