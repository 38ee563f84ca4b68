"""Learns a transform from normalised chunks, or chooses one by the tokens that held-out chunks need.

- `basis`: the principal directions over time, of all channels together, since the motions of a dataset have their own shapes.
- `rotation`: after the DCT, the principal directions over channels, at each frequency: dims that move together become one.
- `both`: a basis, then a rotation.

Each has a dead zone, which spends no tokens on details that are hardly larger than their rounding error. Each also has its own
factor on the scale, so that the error on held-out chunks is that of the DCT and only the number of tokens differs.
Rate-distortion theory suggests this: a Karhunen-Loeve transform, then a uniform quantiser with a dead zone (Sullivan 1996).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.corpus import CodeRangeError, Corpus
from fasttok.codec.kept_chunks import KeptChunks
from fasttok.codec.learn import Track, learn
from fasttok.codec.spline import SplineConfig
from fasttok.codec.transform import NONE, Dct, Learned, Transform
from fasttok.common.choices import TransformName
from fasttok.common.evenly import evenly

logger = logging.getLogger(__name__)

CANDIDATES: tuple[TransformName, ...] = ("dct", "basis", "rotation", "both")
MARGIN = 0.03  # share of the tokens that a transform must save to be taken instead of the DCT
DEAD = 0.6
FINEST = 4.0  # the factor on the scale is searched between this and its inverse
# Maximum number of chunks that a candidate learns from, that it is measured on, and that the chosen one learns from.
COMPARED, MEASURED, SEEN = 8_000, 2_000, 50_000
NO_ROTATIONS = np.zeros((0, 0, 0))


@dataclass(frozen=True, eq=False)
class TransformPlan:
    """Which transform a fit makes.

    Attributes:
        name: name of the transform; `auto` chooses one.
        held_out: chunks of each embodiment, in raw units with their references subtracted, on which `auto` chooses and errors are
            made equal. For an embodiment without any, a fifth of the fit's own chunks is used.
        spline: the splines of a `fixed` fit.
    """

    name: TransformName = "dct"
    held_out: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    spline: SplineConfig = field(default_factory=SplineConfig)

    @classmethod
    def of(cls, wanted: "TransformName | TransformPlan | SplineConfig") -> "TransformPlan":
        """Returns the plan that a name or splines stand for, or the plan itself."""
        if isinstance(wanted, TransformPlan):
            return wanted
        return cls(spline=wanted) if isinstance(wanted, SplineConfig) else cls(wanted)


@dataclass(frozen=True)
class Tried:
    """A transform that `auto` tried, on held-out chunks.

    Attributes:
        name: name of the transform.
        tokens: mean number of ids per chunk.
        error: root mean square error in normalised units.
        chosen: whether it was taken.
    """

    name: TransformName
    tokens: float
    error: float
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a transform is learned from.

    Attributes:
        train: (n, T, C) chunks.
        held_out: (m, T, C) chunks that the error is measured on.
        scale: scale of the tokenizer.
        unit: (C,) what 1 in normalised units is in each channel.
    """

    train: NDArray[Any]
    held_out: NDArray[Any]
    scale: float
    unit: NDArray[np.float64]

    def transform(self, name: TransformName, finer: float | None = None) -> Transform:
        """Learns the transform of that name.

        Args:
            name: name of the transform, not `auto`.
            finer: its factor on the scale; None for the factor at which the error on held-out chunks is that of the DCT.
        """
        if name == "dct":
            return Dct()
        _, t, c = self.train.shape
        basis = principal(_second_moment(self.train.transpose(0, 2, 1).reshape(-1, t))) if name != "rotation" else NONE
        plain = Learned(t, c, 1.0, DEAD, np.arange(t * c), basis, NO_ROTATIONS)
        rotated = plain
        if name != "basis":
            coefs = plain.coefficients(self.train, 1.0, rounded=False)
            rotations = np.stack([principal(_second_moment(coefs[:, f])) for f in range(t)])
            rotated = replace(plain, rotations=rotations)
        fitted = replace(rotated, finer=self._finer(rotated) if finer is None else finer)
        if name == "basis":
            return fitted
        energy = (fitted.coefficients(self.train, self.scale) ** 2).mean(0).reshape(-1)
        return replace(fitted, order=np.argsort(-energy, kind="stable"))

    def error(self, transform: Transform) -> float:
        """Returns the root mean square error of the held-out chunks, relative to `unit`."""
        _, t, c = self.held_out.shape
        coefs = transform.coefficients(self.held_out, self.scale).astype(np.float64)
        back = transform.actions(coefs.reshape(len(coefs), -1), self.scale, t, c)
        return float(np.sqrt(np.mean(((back - self.held_out) / self.unit) ** 2)))

    def tokens(self, transform: Transform, vocab_size: int, track: Track) -> float:
        """Returns the mean number of ids of the held-out chunks, in a native vocabulary that is learned from the others.

        Raises:
            CodeRangeError: the vocabulary is too small for the coefficients.
        """
        seen = np.minimum(self.unit, np.abs(self.train).max((0, 1)))
        edge = int(np.ceil(transform.reach(seen, self.train.shape[1], self.scale)))
        with Corpus() as corpus:
            for start in range(0, len(self.train), 1024):
                corpus.add(transform.coefficients(self.train[start : start + 1024], self.scale))
            low, high = min(corpus.low, -edge), max(corpus.high, edge)
            bpe = learn(corpus, "native", vocab_size, low, high, track)
        coefs = transform.coefficients(self.held_out, self.scale).astype(np.float64)
        _, lengths, _, _ = bpe.encode(coefs.reshape(len(coefs), -1), low, high)
        return float(lengths.mean())

    def _finer(self, plain: Learned) -> float:
        target = self.error(Dct())
        if not target:
            return 1.0
        low, high = 1 / FINEST, FINEST
        for _ in range(12):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.error(replace(plain, finer=middle)) <= target else (middle, high)
        return high


def learn_transform(
    kept: KeptChunks,
    name: TransformName,
    held_out: NDArray[Any] | None,
    scale: float,
    unit: NDArray[np.float64],
    vocab_size: int,
    track: Track = lambda merges: merges,
) -> tuple[Transform, tuple[Tried, ...]]:
    """Learns the transform of that name, or the one that `auto` chooses: the DCT unless another saves 3 % of the tokens.

    Args:
        kept: normalised chunks to learn from.
        name: name of the transform, any but `dct`.
        held_out: (m, T, C) normalised chunks on which to choose and to make errors equal; None for a fifth of `kept`.
        scale: scale of the tokenizer.
        unit: (C,) what 1 in normalised units is in each channel.
        vocab_size: number of ids, for the vocabularies that `auto` compares.
        track: wraps the loop over merges of each of these vocabularies.

    Returns:
        The transform, learned from chunks that are evenly spread over `kept`, and what `auto` tried; () for other names.
    """
    train, held = kept.parted()
    own = held_out is None or not len(held_out)
    measured = kept.sample(MEASURED, held) if own or held_out is None else held_out[evenly(len(held_out), MEASURED)]
    apart = Lesson(kept.sample(COMPARED, train if own else None), measured, scale, unit)
    tried: list[Tried] = []
    chosen = name
    if name == "auto":
        tried = [one for kind in CANDIDATES if (one := _try(apart, kind, vocab_size, track)) is not None]
        plain = next((one.tokens for one in tried if one.name == "dct"), 0.0)
        best = min(tried, key=lambda one: one.tokens, default=None)
        chosen = best.name if best is not None and best.tokens <= (1 - MARGIN) * plain else "dct"
        tried = [replace(one, chosen=one.name == chosen) for one in tried]
        logger.info("transform %s of %s", chosen, "; ".join(f"{one.name}: {one.tokens:.1f} tokens" for one in tried))
    found = apart.transform(chosen)
    if isinstance(found, Learned) and own:  # directions from more chunks, with the factor that held-out ones gave
        found = Lesson(kept.sample(SEEN), measured, scale, unit).transform(chosen, found.finer)
    return found, tuple(tried)


def _try(lesson: Lesson, name: TransformName, vocab_size: int, track: Track) -> Tried | None:
    transform = lesson.transform(name)
    try:
        return Tried(name, lesson.tokens(transform, vocab_size, track), lesson.error(transform))
    except CodeRangeError:
        return None


def principal(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns orthonormal directions as columns, the strongest first; the largest part of each is positive.

    >>> principal(np.diag([1.0, 4.0]))
    array([[0., 1.],
           [1., 0.]])
    """
    _, vectors = np.linalg.eigh(moment)
    vectors = vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))]
    return np.ascontiguousarray(vectors * np.where(largest < 0, -1.0, 1.0)) + 0.0


def _second_moment(rows: NDArray[Any]) -> NDArray[np.float64]:
    values = rows.astype(np.float64, copy=False)
    return np.asarray(values.T @ values / max(len(values), 1))
