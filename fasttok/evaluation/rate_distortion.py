"""Compares tokens with error, over scale and vocabulary size and per frequency, and finds the scale for a wanted error."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.dataset import Dataset
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.embodiment_actions import Subset
from fasttok.codec import dct
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer

SCALES = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
VOCABULARIES = (256, 512, 1024, 2048, 4096)
LEARNED, MEASURED = 20_000, 4_000  # chunks per embodiment
LOWEST, HIGHEST = 1e-2, 1e5  # scales that are searched


@dataclass(frozen=True)
class Point:
    """One tokenizer, measured on held-out chunks.

    Attributes:
        embodiment: embodiment of the chunks.
        scale: factor before rounding.
        vocab_size: number of ids asked for.
        tokens: mean tokens per chunk.
        rms: root mean square error in normalised units.
    """

    embodiment: str
    scale: float
    vocab_size: int
    tokens: float
    rms: float


def samples(data: Dataset, subset: Subset, most: int) -> dict[str, NDArray[Any]]:
    """Returns chunks (n, T, D) of each embodiment, with their references subtracted."""
    return {name: np.concatenate([*group.relative_chunks(subset, most)]) for name, group in data.groups.items()}


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Coefficients before scale and rounding.

    Attributes:
        coefs: (n, T, C) coefficients.
        unit: (C,) what 1 in normalised units is in each channel.
    """

    coefs: NDArray[Any]
    unit: NDArray[np.float64]

    @classmethod
    def of(cls, tok: ActionTokenizer, chunks: NDArray[Any], name: str) -> "Spectrum":
        """Computes the spectrum of chunks whose references are subtracted."""
        channels = replace(tok.channels(tok.embodiment_argument(name)), relative=())
        x = channels.forward(chunks)
        return cls(dct.coefficients(x, 1.0, rounded=False), channels.unit(x.shape[2]))

    def rounding(self, scale: float) -> NDArray[Any]:
        """Returns the rounding error in normalised units. The transform is orthonormal, so the chunks have the same error."""
        lost: NDArray[Any] = (self.coefs - np.rint(self.coefs * scale) / scale) / self.unit
        return lost

    def by_frequency(self) -> NDArray[Any]:
        """Returns (T,): the root mean square coefficient of each frequency, in normalised units."""
        return rms(self.coefs / self.unit, (0, 2))


def rms(values: NDArray[Any], axis: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Returns the root mean square.

    >>> rms(np.array([[3.0, 4.0]]), (0,))
    array([3., 4.])
    """
    means: NDArray[Any] = (values**2).mean(axis)
    return np.asarray(np.sqrt(means))


def sweep(
    tok: ActionTokenizer, data: Dataset, held_out: Mapping[str, NDArray[Any]], scales: Sequence[float] = SCALES
) -> Iterator[Point]:
    """Fits tokenizers like `tok` with other scales and sizes on the training chunks, and yields what each one measures.

    Smaller vocabularies are cuts of the largest. The scale and the size of `tok` itself are among them, so that it can be
    compared at its own. All have the DCT, so the point of a tokenizer with another transform is below the curve by what it saves.
    """
    train = samples(data, "train", LEARNED)
    plain = {name: what for name, what in _without_references(tok).items() if name in train}
    for scale in sorted({*scales, tok.scale}):
        largest, errors = None, {}
        for size in sorted({*VOCABULARIES, tok.vocab_size}, reverse=True):
            try:
                if largest is None:
                    largest = ActionTokenizer.fit(train, size, scale, "native", tok.stats, plain)
                    errors = {name: _error(largest, chunks, name) for name, chunks in held_out.items()}
                candidate = replace(largest, bpe=largest.bpe.truncated(min(size, largest.vocab_size)))
            except InputError:  # the vocabulary is too small for the coefficients at this scale
                continue
            for name, chunks in held_out.items():
                yield Point(name, scale, size, _tokens(candidate, chunks, name), errors[name])


def own_points(tok: ActionTokenizer, held_out: Mapping[str, NDArray[Any]]) -> list[Point]:
    """Measures the tokenizer itself, as `sweep` measures its fits: one point per embodiment.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> [(point.embodiment, point.vocab_size) == ("arm", tok.vocab_size) for point in own_points(tok, {"arm": chunks})]
    [True]
    """
    plain = replace(tok, embodiments=_without_references(tok))
    points = []
    for name, chunks in held_out.items():
        error = _error(plain, chunks, name)
        points.append(Point(name, tok.scale, tok.vocab_size, _tokens(plain, chunks, name), error))
    return points


def _error(tok: ActionTokenizer, chunks: NDArray[Any], name: str) -> float:
    """Returns the root mean square error of coding, in normalised units, of chunks whose references are subtracted."""
    return float(rms(_lost(tok, chunks, name)))


def error_by_frequency(tok: ActionTokenizer, chunks: NDArray[Any], name: str) -> NDArray[Any]:
    """Returns (T,): the root mean square error of coding in each frequency of the DCT, as `_error` for all of them.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> bool(error_by_frequency(ActionTokenizer.fit(chunks, 256), chunks, "").max() < 0.5 / 10)
    True
    """
    return rms(dct.coefficients(_lost(tok, chunks, name), 1.0, rounded=False), (0, 2))


def _lost(tok: ActionTokenizer, chunks: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Returns what coding changes, in normalised units, of chunks whose references are subtracted.

    It is what `measure` finds: rounded coefficients, those outside the range moved to its edge.
    """
    embodiment = tok.embodiment_argument(name)
    channels, transform = replace(tok.channels(embodiment), relative=()), tok.transform(embodiment)
    x = channels.forward(chunks)
    coefs = np.clip(transform.coefficients(x, tok.scale), tok.min_token, tok.max_token).astype(np.float64)
    back = transform.actions(coefs.reshape(len(coefs), -1), tok.scale, x.shape[1], x.shape[2])
    return np.asarray((back - x) / channels.unit(x.shape[2]))


def _without_references(tok: ActionTokenizer) -> dict[str, Embodiment]:
    """Returns the embodiments of a tokenizer without relative dims, for chunks whose references are subtracted."""
    return {name: replace(what, relative=(), relative_to=()) for name, what in tok.embodiments.items()}


def _tokens(tok: ActionTokenizer, chunks: NDArray[Any], name: str) -> float:
    ids = tok.encode_report(chunks, embodiment=tok.embodiment_argument(name)).ids
    return float(np.mean([len(row) for row in ids]))


def tokens_at(points: Iterable[Point], own: Point) -> float | None:
    """Returns the tokens that fits of the size of `own` need at its error, interpolated; None outside of their errors.

    >>> curve = [Point("arm", 10.0, 256, 30.0, 0.01), Point("arm", 20.0, 256, 50.0, 0.005)]
    >>> tokens_at(curve, Point("arm", 10.0, 256, 33.0, 0.01)), tokens_at(curve, Point("arm", 1.0, 256, 9.0, 0.1))
    (30.0, None)
    """
    curve = sorted(
        (p.rms, p.tokens) for p in points if (p.embodiment, p.vocab_size) == (own.embodiment, own.vocab_size)
    )
    errors, tokens = np.array([c for c in curve if c[0] > 0]).reshape(-1, 2).T
    if not len(errors) or not errors[0] * 0.999 <= own.rms <= errors[-1] * 1.001:
        return None
    return float(np.interp(np.log(own.rms), np.log(errors), tokens))


def scale_for(tok: ActionTokenizer, held_out: Mapping[str, NDArray[Any]], target: float) -> float:
    """Finds the smallest scale, to 1 %, with a rounding error on held-out chunks of at most `target` (rms, normalised units).

    Raises:
        InputError: the target is not positive, or no scale searched reaches it.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> scale_for(tok, {"arm": chunks}, 0.001) > scale_for(tok, {"arm": chunks}, 0.01)
    True
    """
    if not 0 < target < np.inf:
        raise InputError(f"target error is {target}, expected a positive number in normalised units, such as 0.01")
    spectra = [Spectrum.of(tok, chunks, name) for name, chunks in held_out.items()]

    def error(scale: float) -> float:
        return float(rms(np.concatenate([spectrum.rounding(scale).reshape(-1) for spectrum in spectra])))

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
