"""Fits a transform for each embodiment, and one vocabulary for all, on normalised chunks."""

from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.codec import learn
from fasttok.codec.bpe import Bpe
from fasttok.codec.corpus import Corpus
from fasttok.codec.kept_chunks import KeptChunks
from fasttok.codec.learn_transform import TransformPlan, Tried, learn_transform
from fasttok.codec.spline import Spline, SplineConfig, control_points
from fasttok.codec.transform import DCT, Dct, Transform
from fasttok.common.choices import FitMode, TransformName
from fasttok.errors import InputError, unknown_name

FIT_MODES, TRANSFORMS = get_args(FitMode), get_args(TransformName)
Units = Callable[[int], NDArray[np.float64]]
"""Takes a number of channels C and returns (C,): what 1 in normalised units is in each channel."""


class CodecFit:
    """Takes the chunks of one embodiment after the other, and makes the vocabulary at the end.

    Args:
        scale: factor before rounding.
        vocab_size: number of ids.
        mode: mode of the fit.
        plan: which transform to use.
        track: wraps the loops over merges, to show progress.

    Attributes:
        scale: scale of the tokenizer: as given, or half the number of bins for splines.
        transforms: transform of each embodiment.
        tried: what `auto` compared, by embodiment.

    Raises:
        InputError: a setting is unknown or not valid, or two settings do not go together.
    """

    def __init__(self, scale: float, vocab_size: int, mode: FitMode, plan: TransformPlan, track: learn.Track) -> None:
        if mode not in FIT_MODES:
            raise unknown_name("fit mode", mode, FIT_MODES)
        if plan.name not in TRANSFORMS:
            raise unknown_name("transform", plan.name, TRANSFORMS)
        if plan.name != "dct" and mode != "native":
            raise InputError(
                f"transform {plan.name!r} with mode {mode!r}: only a native fit has transforms other than the DCT; leave out "
                "--mode or --transform"
            )
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"scale is {scale}, expected a positive number (10 is FAST's default)")
        if mode == "fixed":
            learn.check_bins(vocab_size)
        self.scale = vocab_size / 2 if mode == "fixed" else float(scale)
        self.transforms: dict[str, Transform] = {}
        self.tried: dict[str, tuple[Tried, ...]] = {}
        self._vocab_size, self._mode, self._plan, self._track = vocab_size, mode, plan, track
        self._reach = 0.0  # largest |coefficient| that a chunk in [-1, 1] (or the fit's smaller range) can have

    @property
    def other_transforms(self) -> dict[str, Transform]:
        """Transforms that are not the DCT, by embodiment."""
        return {name: one for name, one in self.transforms.items() if not isinstance(one, Dct)}

    def add(
        self, corpus: Corpus, name: str, values: Iterable[NDArray[Any]], units: Units, held_out: NDArray[Any] | None
    ) -> None:
        """Learns the transform of an embodiment, then adds the coefficients of its chunks to the corpus.

        Args:
            corpus: coefficients of all embodiments.
            name: name of the embodiment.
            values: (n, T, C) normalised chunks, read once.
            units: units of its channels.
            held_out: (m, T, C) normalised chunks to choose a transform on; None for a fifth of `values`.

        Raises:
            InputError: no chunks, or chunks of several shapes, which have no transform in common.
        """
        if self._mode != "fixed" and self._plan.name == "dct":
            self._code(corpus, name, values, units, DCT)
            return
        if name in self.transforms:
            raise InputError("several groups of chunks need stats= or embodiments=, so that each has its transform")
        with KeptChunks(values, name) as kept:
            if self._mode == "fixed":
                found: Transform = _spline(kept, self._plan.spline, self._vocab_size)
            else:
                unit = units(kept.shape[1])
                found, self.tried[name] = learn_transform(
                    kept, self._plan.name, held_out, self.scale, unit, self._vocab_size, self._track
                )
            self._code(corpus, name, kept, units, found)

    def vocabulary(self, corpus: Corpus) -> tuple[Bpe, int, int]:
        """Makes (vocabulary, smallest coefficient, largest coefficient) from what was added.

        Raises:
            InputError: the scale rounds every coefficient to 0.
        """
        low, high = self.limits(corpus)
        if self._mode == "fixed":
            return learn.without_merges(self._vocab_size), low, high
        if self._reach > 0 and not corpus.low and not corpus.high:
            raise InputError(
                f"scale is {self.scale:g}, which rounds every coefficient of these actions to 0, so all chunks would have "
                "the same tokens; expected a larger one (10 is FAST's default)"
            )
        return learn.learn(corpus, self._mode, self._vocab_size, low, high, self._track), low, high

    def limits(self, corpus: Corpus) -> tuple[int, int]:
        """Returns the smallest and the largest coefficient that get a code, of what was added."""
        if self._mode == "fixed":
            low = -(self._vocab_size // 2)
            return low, low + self._vocab_size - 1
        edge = int(np.ceil(self._reach)) if self._mode == "native" else 0
        return min(corpus.low, -edge), max(corpus.high, edge)

    def _code(
        self, corpus: Corpus, name: str, values: Iterable[NDArray[Any]], units: Units, transform: Transform
    ) -> None:
        """Appends the coefficients of normalised chunks."""
        self.transforms[name] = transform
        most: dict[tuple[int, int], NDArray[Any]] = {}  # (T, C) -> (C,) largest |value| of all chunks, not of one batch
        for x in values:
            corpus.add(transform.coefficients(x, self.scale))
            shape = (x.shape[1], x.shape[2])
            most[shape] = np.maximum(most.get(shape, 0.0), np.abs(x).max((0, 1)))
        for (horizon, width), largest in most.items():
            seen = np.minimum(units(width), largest)
            self._reach = max(self._reach, transform.reach(seen, horizon, self.scale))


def _spline(kept: KeptChunks, config: SplineConfig, bins: int) -> Spline:
    """Makes splines whose range is that of the chunks' control points."""
    low, high = np.full(kept.shape[1], np.inf), np.full(kept.shape[1], -np.inf)
    for x in kept:
        points = control_points(x, config)
        low, high = np.minimum(low, points.min((0, 1))), np.maximum(high, points.max((0, 1)))
    return Spline(config, bins, low, high)
