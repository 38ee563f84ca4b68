"""Random bits from Philox that depend only on a key and a counter, so they are equal on every machine and numpy version.

The key is a text that names the seed and the purpose. Only raw 64-bit words are used: numpy promises that they never change, but
does not promise that for the methods of `Generator`.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

WORDS = 4  # 64-bit words that Philox4x64 gives per counter step


def words(key: str, start: int, stop: int) -> NDArray[np.uint64]:
    """Returns words start .. stop - 1 of the endless stream of `key`, (stop - start,) uint64, without computing earlier words.

    >>> bool((words("k", 5, 9) == words("k", 0, 9)[5:]).all())
    True
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    first = start // WORDS
    stream = np.random.Philox(key=number, counter=first)
    return stream.random_raw(max(stop - first * WORDS, 0))[start - first * WORDS :]


def shuffled(key: str, n: int) -> NDArray[np.int64]:
    """Returns a permutation of range(n), (n,) int64, which sorts the first `n` words of the stream of `key`.

    >>> sorted(shuffled("k", 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(words(key, 0, n), kind="stable")
