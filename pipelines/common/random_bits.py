"""Random bits that are a function of (seed, purpose, counter) alone: Philox, the same on every machine and numpy version.

Only raw 64-bit words are used: numpy promises those to stay, and does not promise it of `Generator`'s methods.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

WORDS = 4  # 64-bit words that Philox4x64 gives per counter step


def words(key: str, start: int, stop: int) -> NDArray[np.uint64]:
    """Words start .. stop - 1 of the endless stream named by `key`; random access, (stop - start,) uint64.

    >>> bool((words("k", 5, 9) == words("k", 0, 9)[5:]).all())
    True
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    first = start // WORDS
    stream = np.random.Philox(key=number, counter=first)
    return stream.random_raw(max(stop - first * WORDS, 0))[start - first * WORDS :]


def shuffled(key: str, n: int) -> NDArray[np.int64]:
    """A permutation of range(n), (n,) int64: the order of `n` words of the stream.

    >>> sorted(shuffled("k", 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(words(key, 0, n), kind="stable")
