"""Converts action chunks to rounded coefficients and back: orthonormal DCT along time, scale, round.

Source: FAST (Pertsch et al. 2025, arXiv 2501.09747), section V; the published processor's arithmetic is kept to the bit:
`scipy.fft.dct(x, axis=time, norm="ortho")` in the input's dtype, `np.around` (half to even), row-major flattening of
(horizon, action_dim), so that low frequencies of all dimensions come first. The inverse runs in float64.

`scipy.fftpack` calls the same code as `scipy.fft` without looking for other backends first. It gives the same bits, and takes
half the time for one chunk.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fftpack import dct, idct


def coefficients(chunks: NDArray[Any], scale: float, rounded: bool = True) -> NDArray[Any]:
    """Returns the DCT coefficients times scale, rounded unless `rounded` is False.

    Args:
        chunks: (batch, horizon, action_dim), any real dtype, finite.
        scale: factor before rounding; the round trip's error per coefficient is at most 0.5 / scale.
        rounded: whether to round, half to even.

    Returns:
        (batch, horizon, action_dim), whole numbers (if rounded) in the dtype that scipy's dct gives (float for integer input).

    >>> coefficients(np.ones((1, 4, 1)), 10.0)[0, :, 0]
    array([20.,  0.,  0.,  0.])
    """
    coefs: NDArray[Any] = dct(chunks, axis=1, norm="ortho")
    np.multiply(coefs, scale, out=coefs, casting="same_kind")
    return np.rint(coefs, out=coefs) if rounded else coefs


def actions(coefs: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Computes the inverse of `coefficients`, in float64: (batch, horizon, action_dim) -> the same shape.

    >>> actions(np.array([[[20.0], [0.0], [0.0], [0.0]]]), 10.0)[0, :, 0]
    array([1., 1., 1., 1.])
    """
    return inverse(np.divide(coefs, scale, dtype=np.float64))


def inverse(coefs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the inverse DCT along time: (batch, horizon, action_dim) -> the same shape. It may overwrite its argument.

    >>> inverse(np.array([[[2.0], [0.0], [0.0], [0.0]]]))[0, :, 0]
    array([1., 1., 1., 1.])
    """
    values: NDArray[np.float64] = idct(coefs, axis=1, norm="ortho", overwrite_x=True)
    return values
