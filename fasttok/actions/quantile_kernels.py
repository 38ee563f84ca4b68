"""The compiled loops of `quantiles.py`. Each reading looks at every value once."""

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled


def _count_upper(bits: NDArray[np.uint32], sums: NDArray[np.int64], upper: NDArray[np.int64]) -> bool:
    """Adds up mantissas and squares of (n, D) values by exponent, and counts upper halves of keys; False for NaN or inf."""
    for row in range(bits.shape[0]):
        for dim in range(bits.shape[1]):
            word = np.int64(bits[row, dim])
            exponent = (word >> 23) & 255
            mantissa = word & 0x7FFFFF
            if exponent == 255:
                return False
            if exponent:
                mantissa |= 0x800000
            else:
                exponent += 1  # subnormal: the same power of two as exponent 1, without the leading bit
            square = mantissa * mantissa
            sums[dim, exponent, 0] += -mantissa if word >> 31 else mantissa
            sums[dim, exponent, 1] += square & 0xFFFFFF
            sums[dim, exponent, 2] += square >> 24
            upper[dim, _key(word) >> 16] += 1
    return True


def _count_lower(bits: NDArray[np.uint32], slots: NDArray[np.int32], lower: NDArray[np.int64]) -> None:
    """Counts the lower halves of keys whose upper half has a slot."""
    for row in range(bits.shape[0]):
        for dim in range(bits.shape[1]):
            key = _key(np.int64(bits[row, dim]))
            slot = slots[dim, key >> 16]
            if slot >= 0:
                lower[dim, slot, key & 0xFFFF] += 1


def _sort_key(word: int) -> int:
    """Turns the bits of a float32 into an integer that sorts as the float32 does; -0.0 sorts as 0.0."""
    if word == 0x80000000:
        return word
    return word ^ 0xFFFFFFFF if word >> 31 else word | 0x80000000


_key = compiled(_sort_key, inline="always")
_upper, _lower = compiled(_count_upper), compiled(_count_lower)


def count_upper(x: NDArray[np.float32], sums: NDArray[np.int64], upper: NDArray[np.int64]) -> bool:
    """Counts contiguous (n, D) values in the first reading; False if one is NaN or inf.

    >>> sums, upper = np.zeros((1, 256, 3), np.int64), np.zeros((1, 1 << 16), np.int64)
    >>> count_upper(np.array([[1.0], [2.0]], np.float32), sums, upper), int(upper.sum())
    (True, 2)
    """
    return bool(_upper(x.view(np.uint32), sums, upper))


def count_lower(x: NDArray[np.float32], slots: NDArray[np.int32], lower: NDArray[np.int64]) -> None:
    """Counts (n, D) values in the second reading.

    >>> slots, lower = np.zeros((1, 1 << 16), np.int32), np.zeros((1, 1, 1 << 16), np.int64)
    >>> count_lower(np.array([[1.0], [2.0]], np.float32), slots, lower)
    >>> int(lower.sum())
    2
    """
    _lower(x.view(np.uint32), slots, lower)
