"""NormStats: per-dimension statistics that map raw units to about [-1, 1] and back, and how JSON files store them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.dim_ranges import NAMES, STD_NOISE, Moments, NormalizedBy, bounds, choose, middle
from fasttok.actions.quantiles import Batches, summarize
from fasttok.common import json_files
from fasttok.common.choices import Constants, NormMode
from fasttok.errors import InputError

NORM_MODES: tuple[str, ...] = get_args(NormMode)
Block = Mapping[str, Sequence[str] | Sequence[float]]  # `NormStatsBlock` as plain values
CONSTANT_BEFORE = 1e-8
"""fasttok 0.1.0 took a dim for constant if its half range was at most this, times its magnitude if that is above 1.

Its files do not say so, but its tokens depend on it."""

MOVED = 1e-6
"""Values that are farther than this from a constant dim's value, times its magnitude if that is above 1, count as outside."""


@dataclass(frozen=True)
class NormStatsBlock:
    """What fasttok adds to the statistics in a JSON file.

    Attributes:
        by: what each dim is normalised by.
        q01: 1st percentile.
        q99: 99th percentile.
    """

    by: tuple[NormalizedBy, ...]
    q01: list[float]
    q99: list[float]


@dataclass(frozen=True, kw_only=True)
class NormStatsEntry:
    """Statistics as a JSON file contains them: D numbers each, in raw units. openpi's entries have mean, std, q01 and q99.

    Attributes:
        mode: see `NormStats`; None for quantile if there are quantiles, else min_max if there are min and max, else mean_std.
        mean: mean.
        std: standard deviation.
        min: smallest value; None if it is not known.
        max: largest value; None if it is not known.
        q01: what becomes -1: the 1st percentile, or what replaces it; None if it is not known.
        q99: what becomes 1: the 99th percentile, or what replaces it; None if it is not known.
        mask: False for dims that are not normalised; None for True everywhere.
        clip: whether normalised values are cut to [-1, 1].
        fasttok: the quantiles themselves, if q01 and q99 contain something else.
    """

    mode: NormMode | None = None
    mean: list[float]
    std: list[float]
    min: list[float] | None = None
    max: list[float] | None = None
    q01: list[float] | None = None
    q99: list[float] | None = None
    mask: list[bool] | None = None
    clip: bool = False
    fasttok: NormStatsBlock | None = field(default=None, metadata=json_files.LEFT_OUT)


@dataclass(frozen=True, eq=False)
class NormStats:
    """Statistics of one embodiment's actions (or proprio); every array is (D,) float64 in raw units.

    Attributes:
        mode: what `normalize` uses, except for dims that it does not describe: quantile (q01..q99 -> [-1, 1]), mean_std, min_max
            (-> [-1, 1]) or none.
        mean: mean.
        std: standard deviation.
        min: smallest value.
        max: largest value.
        q01: 1st percentile.
        q99: 99th percentile.
        mask: (D,) bool, False for dims that are not normalised.
        clip: whether normalised values are cut to [-1, 1]; otherwise values outside the range are kept.
        by: what each dim is normalised by, see `dim_ranges.choose`; None for `mode`, except in dims that fasttok 0.1.0 took
            for constant.

    >>> stats = NormStats.fit(np.array([[0.0, 5.0], [10.0, 5.0]]), mode="min_max")
    >>> stats.normalize(np.array([[0.0, 5.0], [5.0, 5.0]]))
    array([[-1.,  0.],
           [ 0.,  0.]])
    >>> stats.unnormalize(np.array([[1.0, 0.3]]))
    array([[10.,  5.]])
    """

    mode: NormMode
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mask: NDArray[np.bool_]
    clip: bool = False
    by: tuple[NormalizedBy, ...] | None = None

    def __post_init__(self) -> None:
        if self.mode not in NORM_MODES:
            raise InputError(f"NormStats: mode is {self.mode!r}, expected one of {', '.join(NORM_MODES)}")
        for name in ("mean", "std", "min", "max", "q01", "q99", "mask"):
            value, dtype = getattr(self, name), np.dtype(bool if name == "mask" else np.float64)
            if not isinstance(value, np.ndarray) or value.dtype != dtype:
                kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
                raise InputError(f"NormStats: {name} is {kind}, expected an array of {dtype}")
            if value.shape != self.mean.shape or value.ndim != 1:
                raise InputError(f"NormStats: {name} has shape {value.shape}, expected ({self.mean.size},)")
            if not np.isfinite(value).all():
                raise InputError(f"NormStats: {name} contains NaN or inf: {value.tolist()}")
        if self.by is not None and (len(self.by) != self.dim or not set(self.by) <= set(NAMES)):
            raise InputError(f"NormStats: by is {self.by}, expected {self.dim} of {', '.join(NAMES)}")

    @property
    def dim(self) -> int:
        """D, the number of dims."""
        return len(self.mean)

    @classmethod
    def fit(
        cls,
        x: NDArray[Any],
        mode: NormMode = "quantile",
        mask: NDArray[Any] | None = None,
        clip: bool = False,
        constants: Constants = "zero",
    ) -> "NormStats":
        """Computes the statistics of x (n, D) in raw units.

        Args:
            x: (n, D), one row per step.
            mode: see `NormStats`.
            mask: (D,) False for dims that are not normalised; None for True everywhere.
            clip: see `NormStats`.
            constants: what dims that never move become: 0, or -1 as in openpi and lerobot.

        Raises:
            InputError: x is empty, not 2-D, or contains NaN or inf.
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or not len(x):
            raise InputError(f"NormStats.fit: got an array of shape {x.shape}, expected (n, dims) with n >= 1")
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            raise InputError(
                f"NormStats.fit: NaN or inf at row {bad[0][0]}, dim {bad[0][1]} ({len(bad)} values in all)"
            )
        q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
        keep = np.ones(x.shape[1], bool) if mask is None else np.asarray(mask, bool)
        plain = cls(mode, x.mean(0), x.std(0), x.min(0), x.max(0), q01, q99, keep, clip)
        return plain._ranged(constants, len(x))

    @classmethod
    def of(
        cls,
        batches: Batches,
        mode: NormMode = "quantile",
        clip: bool = False,
        constants: Constants = "zero",
        copies: int = 1,
    ) -> "NormStats":
        """Computes the same as `fit`, from float32 batches (n, D) that are read twice and never all in memory.

        The result is that of `fit`, except for the last bits of the mean.

        Args:
            batches: see `quantiles.summarize`.
            mode: see `NormStats`.
            clip: see `NormStats`.
            constants: see `fit`.
            copies: number of rows that contain the same step, because chunks overlap.

        Raises:
            InputError: no rows, or NaN or inf.
        """
        try:
            summary = summarize(batches, [0.01, 0.99])
        except ValueError as error:
            raise InputError(f"NormStats.of: {error}") from None
        keep = np.ones(len(summary.mean), bool)
        q01, q99 = summary.quantiles
        plain = cls(mode, summary.mean, summary.std, summary.min, summary.max, q01, q99, keep, clip)
        return plain._ranged(constants, summary.count / copies)

    @property
    def _moments(self) -> Moments:
        return Moments(self.mean, self.std, self.min, self.max, self.q01, self.q99, self.mask)

    def _ranged(self, constants: Constants, steps: float) -> "NormStats":
        """Returns the statistics with `by`, what each dim is normalised by, or without it if None means the same."""
        by = choose(self._moments, self.mode, constants, steps)
        return self if set(by) == {"quantile"} and by == self.normalized_by else replace(self, by=by)

    def by_quantiles(self, dims: Sequence[int]) -> "NormStats":
        """Returns the statistics with some dims normalised by their quantiles, whatever `dim_ranges.choose` chose."""
        by = tuple("quantile" if d in dims else own for d, own in enumerate(self.normalized_by))
        plain = replace(self, by=None)
        return plain if set(by) == {"quantile"} and by == plain.normalized_by else replace(self, by=by)

    @cached_property
    def normalized_by(self) -> tuple[NormalizedBy, ...]:
        """What each dim is normalised by.

        >>> NormStats.fit(np.array([[0.0, 5.0], [10.0, 5.0]])).normalized_by
        ('quantile', 'constant')
        """
        if self.by is not None:
            return self.by
        if self.mode == "none":
            return tuple("none" for _ in self.mean)
        if self.mode == "mean_std":
            centre, half = self.mean, self.std
        else:
            centre, half = middle(*((self.q01, self.q99) if self.mode == "quantile" else (self.min, self.max)))
        still = half <= CONSTANT_BEFORE * np.maximum(1.0, np.abs(centre))
        own: NormalizedBy = self.mode
        names: tuple[NormalizedBy, NormalizedBy] = (own, "constant")
        return tuple(names[int(flat)] if used else "none" for flat, used in zip(still, self.mask, strict=True))

    @cached_property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The raw values that become -1 and 1, both (D,). openpi reads them as q01 and q99."""
        return bounds(self._moments, self.normalized_by)

    @cached_property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The two values of binarized dims, both (D,): their quantiles, or min and max if the quantiles are equal or noise."""
        by = np.array(self.normalized_by, object)
        whole = (by == "min_max") | (self.q01 == self.q99)
        return np.where(whole, self.min, self.q01), np.where(whole, self.max, self.q99)

    @property
    def exceptions(self) -> dict[int, str]:
        """Dims that are not normalised by `mode`, each with what it is normalised by instead.

        >>> x = np.zeros((1000, 2))
        >>> x[:5, 1] = 1.0
        >>> NormStats.fit(x).exceptions
        {0: 'constant, 0', 1: 'min..max'}
        """
        return {d: NAMES[by] for d, by in enumerate(self.normalized_by) if by != self.mode}

    @property
    def erased(self) -> list[int]:
        """Dims that move and yet count as constant, as they do in files of fasttok 0.1.0."""
        still = np.array([by.startswith("constant") for by in self.normalized_by], bool)
        return np.flatnonzero(still & (self.min < self.max) & (self.std > STD_NOISE * np.abs(self.mean))).tolist()

    @cached_property
    def _affine(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(centre, half range, which dims are constant): normalised = (x - centre) / half range."""
        by = np.array(self.normalized_by, object)
        low, high = middle(self.q01, self.q99), middle(self.min, self.max)
        centre, half = low[0].copy(), np.ones(self.dim)
        for name, (value, scale) in {"quantile": low, "min_max": high, "mean_std": (self.mean, self.std)}.items():
            centre[by == name], half[by == name] = value[by == name], scale[by == name]
        centre[by == "none"] = 0.0
        constant = (by == "constant") | (by == "constant_low")
        if self.mode == "min_max":
            centre[constant] = high[0][constant]
        elif self.mode == "mean_std":
            centre[constant] = self.mean[constant]
        return centre, half, constant

    @cached_property
    def _flat(self) -> NDArray[np.float64]:
        """(D,) what constant dims become."""
        return np.array([-1.0 if by == "constant_low" else 0.0 for by in self.normalized_by])

    def normalize(self, x: NDArray[Any]) -> NDArray[Any]:
        """Normalises x (..., D) in raw units. float32 stays float32, everything else becomes float64."""
        x = self._check(x)
        centre, half, constant = self._affine
        out: NDArray[Any] = np.subtract(x, centre)
        out /= half
        if constant.any():
            out[..., constant] = self._flat[constant]
        if self.clip and self.mode != "none":
            out = np.where(self.mask, np.clip(out, -1.0, 1.0), out)
        return out.astype(float_type(x), copy=False)

    def unnormalize(self, x: NDArray[Any]) -> NDArray[Any]:
        """Converts normalised x (..., D) to raw units. Undoes `normalize` for values that it neither clipped nor flattened."""
        x = self._check(x)
        centre, half, constant = self._affine
        out: NDArray[Any] = np.multiply(x, half)
        out += centre
        if constant.any():
            out[..., constant] = centre[constant]
        return out.astype(float_type(x), copy=False)

    def clipped_share(self, x: NDArray[Any]) -> float:
        """Returns the share of values of x (..., D) that are outside the normaliser's range, or differ from a constant dim's."""
        centre, half, constant = self._affine
        if self.mode in ("none", "mean_std"):
            return 0.0
        ranged = np.isin(np.array(self.normalized_by, object), ["quantile", "min_max"])
        far = np.abs(self._check(x) - centre)
        moved = constant & (far > MOVED * np.maximum(1.0, np.abs(centre)))
        return float(((far / half > 1 + 1e-9) & ranged | moved).mean())

    def _check(self, x: NDArray[Any]) -> NDArray[Any]:
        x = np.asarray(x)
        if x.shape[-1:] != (self.dim,):
            raise InputError(f"NormStats: data has {x.shape[-1:] or 'no'} dims, the statistics have {self.dim}")
        return x

    def to_entry(self) -> NormStatsEntry:
        """Returns what a JSON file says of these statistics. Its q01 and q99 are the bounds that are used."""
        names = [what.name for what in fields(self) if what.name != "by"]
        values = {name: getattr(self, name) for name in names}
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}
        if self.by is None:
            return NormStatsEntry(**plain)
        low, high = self.bounds
        block = NormStatsBlock(self.by, plain["q01"], plain["q99"])
        return NormStatsEntry(**plain | {"q01": low.tolist(), "q99": high.tolist(), "fasttok": block})

    @classmethod
    def from_entry(cls, entry: NormStatsEntry) -> "NormStats":
        """The inverse of `to_entry`; also takes an entry of openpi's norm_stats.json (mean, std, q01, q99).

        If quantiles are equal in an entry of another program, min and max or the std replace them, as in a fit.

        Raises:
            InputError: arrays of different lengths, NaN or inf, or the mode's statistics are missing.
        """
        for a, b in (("q01", "q99"), ("min", "max")):
            if (getattr(entry, a) is None) != (getattr(entry, b) is None):
                raise InputError(f"NormStats: only one of {a} and {b} is there; expected both or none")
        mode: NormMode = "quantile" if entry.q01 is not None else "min_max" if entry.min is not None else "mean_std"
        needs = {"quantile": entry.q01, "min_max": entry.min}
        if entry.mode in needs and needs[entry.mode] is None:
            has = ", ".join(
                name for name in ("mean", "std", "min", "max", "q01", "q99") if getattr(entry, name) is not None
            )
            keys = "q01 and q99" if entry.mode == "quantile" else "min and max"
            raise InputError(f"NormStats: mode is {entry.mode}, which needs {keys}; there are only {has}")
        low, high = entry.q01 or entry.min or entry.mean, entry.q99 or entry.max or entry.mean
        wanted = (entry.std, entry.min or low, entry.max or high, low, high)
        mean, std, least, most, q01, q99 = (np.asarray(values, np.float64) for values in (entry.mean, *wanted))
        mask = np.ones(len(mean), bool) if entry.mask is None else np.asarray(entry.mask, bool)
        plain = cls(entry.mode or mode, mean, std, least, most, q01, q99, mask, entry.clip)
        if entry.fasttok is not None:
            return plain._with_block(entry.fasttok)
        return plain if entry.mode else plain._ranged("zero", 0)

    def _with_block(self, block: NormStatsBlock) -> "NormStats":
        """Returns the statistics with the quantiles of the `fasttok` block. Bounds that somebody changed in the file count."""
        quantiles = np.asarray(block.q01, np.float64), np.asarray(block.q99, np.float64)
        own = replace(self, q01=quantiles[0], q99=quantiles[1], by=tuple(block.by))
        changed = (own.bounds[0] != self.q01) | (own.bounds[1] != self.q99)
        if not changed.any():
            return own
        q01, q99 = (np.where(changed, a, b) for a, b in zip((self.q01, self.q99), quantiles, strict=True))
        by = tuple("quantile" if new else old for new, old in zip(changed, block.by, strict=True))
        return replace(own, q01=q01, q99=q99, by=by)

    def to_json(self) -> "dict[str, str | bool | list[float] | list[bool] | Block]":
        """Returns plain lists, for a JSON file."""
        plain: dict[str, str | bool | list[float] | list[bool] | Block] = json_files.encode(self.to_entry())
        return plain

    @classmethod
    def from_json(cls, data: "Mapping[str, str | bool | Sequence[float] | Block | None]") -> "NormStats":
        """Reads what `to_json` returns, and other entries as `from_entry` does.

        Raises:
            InputError: a key is missing, unknown or not numeric.
        """
        return cls.from_entry(json_files.decode(NormStatsEntry, data, "NormStats"))


def float_type(x: NDArray[Any]) -> np.dtype:
    """Returns the dtype in which we compute with x: float32 stays float32, everything else becomes float64."""
    return x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float64)
