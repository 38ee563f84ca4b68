"""Tokens against error: over scale and vocabulary size, per dimension and frequency, and the scale for a wanted error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fasttok import dct
from fasttok.dataset import Dataset
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer

SCALES = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
VOCABULARIES = (256, 512, 1024, 2048, 4096)
LEARNED, MEASURED = 20_000, 4_000  # chunks per embodiment
LOWEST, HIGHEST = 1e-2, 1e5  # scales that are searched


@dataclass(frozen=True)
class Point:
    """One tokenizer, measured on held-out chunks: mean tokens a chunk, error in normalised units."""

    embodiment: str
    scale: float
    vocab_size: int
    tokens: float
    rms: float


def sweep(tok: ActionTokenizer, data: Dataset, scales: Sequence[float] = SCALES) -> Iterator[Point]:
    """Fits like `tok` with other scales and sizes, on the training chunks; smaller vocabularies are cuts of the largest."""
    train = {name: np.concatenate([*g.relative_chunks("train", LEARNED)]) for name, g in data.groups.items()}
    held = {name: np.concatenate([*g.relative_chunks("held_out", MEASURED)]) for name, g in data.groups.items()}
    plain = {name: replace(e, relative=()) for name, e in tok.embodiments.items()}
    for scale in scales:
        largest = None
        for size in reversed(VOCABULARIES):
            try:
                if largest is None:
                    largest = ActionTokenizer.fit(train, size, scale, "native", tok.stats, plain)
                vocabulary = largest.bpe.truncated(min(size, largest.vocab_size))
            except InputError:  # fewer ids than coefficients of this scale
                continue
            candidate = ActionTokenizer(vocabulary, scale, largest.min_token, largest.max_token, tok.stats, {}, plain)
            for name, chunks in held.items():
                ids = candidate.encode_report(chunks, name or None).ids
                rms = float(np.sqrt(np.mean(rounding(candidate, chunks, name, scale) ** 2)))
                yield Point(name, scale, size, float(np.mean([len(row) for row in ids])), rms)


def rounding(tok: ActionTokenizer, chunks: NDArray, name: str | None, scale: float) -> NDArray:
    """Coefficients' rounding errors (n, T, C) in normalised units; the transform is orthonormal, so they are the chunks' too."""
    channels = replace(tok.channels(name or None), relative=())
    x = channels.forward(chunks)
    coefs = dct.coefficients(x, 1.0, rounded=False)
    return (coefs - np.rint(coefs * scale) / scale) / channels.unit(x.shape[2])


def scale_for(tok: ActionTokenizer, data: Dataset, target: float) -> float:
    """The smallest scale, to 1 %, whose rounding error on held-out chunks is at most `target` (root mean square, normalised).

    Raises:
        InputError: the target is not positive, or no scale searched reaches it.
    """
    if not target > 0:
        raise InputError(f"target error is {target}, expected a positive number in normalised units, such as 0.01")
    held = {name: np.concatenate([*g.relative_chunks("held_out", MEASURED)]) for name, g in data.groups.items()}

    def error(scale: float) -> float:
        squares = [rounding(tok, chunks, name, scale) ** 2 for name, chunks in held.items()]
        return float(np.sqrt(np.concatenate([s.reshape(-1) for s in squares]).mean()))

    low, high = LOWEST, HIGHEST
    if error(low) <= target:
        return low
    if error(high) > target:
        raise InputError(
            f"no scale up to {HIGHEST:g} has an error of {target:g} or less (it is {error(high):.2g} there)"
        )
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if error(middle) <= target else (middle, high)
    return high


def by_frequency(tok: ActionTokenizer, chunks: NDArray, name: str | None) -> tuple[NDArray, NDArray]:
    """(root mean square coefficient, root mean square rounding error) of each frequency: (T,), normalised units."""
    channels = replace(tok.channels(name), relative=())
    x = channels.forward(chunks)
    coefs = dct.coefficients(x, 1.0, rounded=False) / channels.unit(x.shape[2])
    error = rounding(tok, chunks, name, tok.scale)
    return np.sqrt((coefs**2).mean((0, 2))), np.sqrt((error**2).mean((0, 2)))
