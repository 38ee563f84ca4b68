"""A seeded permutation of a range, which is evaluated at single places without making a list of the range."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def order_key(seed: int, name: str) -> int:
    """Returns 64 bits that choose the permutations of a source."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")


def permute(x: NDArray[np.int64], size: int, key: int, epoch: int) -> NDArray[np.int64]:
    """Evaluates a pseudo-random permutation of range(size) at `x`.

    The permutation is a Feistel network over the smallest even number of bits that fits `size`, applied again until the result is
    inside the range. That is a bijection for any round function; here there are four rounds of the splitmix64 mixer.

    Args:
        x: (m,) int64 in [0, size).
        size: size of the range.
        key: chooses the permutation, together with `epoch`.
        epoch: number of the epoch; each has another permutation.

    Returns:
        (m,) int64 in [0, size).

    >>> sorted(permute(np.arange(10), 10, key=7, epoch=0).tolist()) == list(range(10))
    True
    """
    half = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    rounds = [np.uint64(hash_word(key + (epoch << 8) + r)) for r in range(4)]
    out = np.asarray(x, np.int64).astype(np.uint64)
    todo = np.arange(len(out))
    while len(todo):
        left, right = out[todo] >> shift, out[todo] & mask
        for word in rounds:
            left, right = right, left ^ (_mix(right ^ word) & mask)
        out[todo] = (left << shift) | right
        todo = todo[out[todo] >= size]
    return out.astype(np.int64)


def hash_word(value: int) -> int:
    """Returns 64 bits that depend on an integer of any size.

    >>> 0 <= hash_word(-3) < 2**64
    True
    """
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "little")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Applies the finaliser of splitmix64 (Steele et al. 2014): each input bit changes about half of the output bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
