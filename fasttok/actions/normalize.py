"""NormStats: per-dimension statistics that map raw units to about [-1, 1] and back. Holds stats and JSON, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.quantiles import Batches, summarize
from fasttok.common import json_files
from fasttok.errors import InputError

NormMode = Literal["quantile", "mean_std", "min_max", "none"]
NORM_MODES: tuple[str, ...] = get_args(NormMode)
# A dimension whose range is smaller than this share of its magnitude is constant: it maps to 0 and back to its value.
CONSTANT = 1e-8


@dataclass(frozen=True, kw_only=True)
class NormStatsEntry:
    """Statistics as a JSON file holds them: D numbers each, in raw units. openpi's entries have mean, std, q01 and q99.

    Attributes:
        mode: see `NormStats`; None for quantile if there are quantiles (or ranges), else mean_std.
        mean: mean.
        std: standard deviation.
        min: smallest value; None for q01.
        max: largest value; None for q99.
        q01: 1st percentile; None for `min`, else `mean`.
        q99: 99th percentile; None for `max`, else `mean`.
        mask: False where a dimension is left as it is; None for True everywhere.
        clip: whether normalised values are cut to [-1, 1].
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


@dataclass(frozen=True, eq=False)
class NormStats:
    """Statistics of one embodiment's actions (or proprio); every array is (D,) float64 in raw units.

    Attributes:
        mode: what `normalize` uses: quantile (q01..q99 -> [-1, 1]), mean_std, min_max (-> [-1, 1]) or none.
        mean: mean.
        std: standard deviation.
        min: smallest value.
        max: largest value.
        q01: 1st percentile.
        q99: 99th percentile.
        mask: (D,) bool, False where a dimension is left as it is.
        clip: whether normalised values are cut to [-1, 1]; otherwise values outside the range are kept.

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

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    @classmethod
    def fit(
        cls, x: NDArray[Any], mode: NormMode = "quantile", mask: NDArray[Any] | None = None, clip: bool = False
    ) -> "NormStats":
        """Statistics of x (n, D) in raw units.

        Raises:
            InputError: x is empty, not 2-D, or holds NaN or inf.
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
        return cls(mode, x.mean(0), x.std(0), x.min(0), x.max(0), q01, q99, keep, clip)

    @classmethod
    def of(cls, batches: Batches, mode: NormMode = "quantile", clip: bool = False) -> "NormStats":
        """As `fit`, of float32 batches (n, D) that are read twice and never held; equal to it up to the mean's last bits.

        Raises:
            InputError: no rows, or NaN or inf.
        """
        try:
            summary = summarize(batches, [0.01, 0.99])
        except ValueError as error:
            raise InputError(f"NormStats.of: {error}") from None
        keep = np.ones(len(summary.mean), bool)
        q01, q99 = summary.quantiles
        return cls(mode, summary.mean, summary.std, summary.min, summary.max, q01, q99, keep, clip)

    @cached_property
    def _affine(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(centre, half range, which dims are constant): normalised = (x - centre) / half range."""
        if self.mode == "none":
            return np.zeros(self.dim), np.ones(self.dim), np.zeros(self.dim, bool)
        if self.mode == "mean_std":
            centre, half = self.mean, self.std
        else:
            low, high = (self.q01, self.q99) if self.mode == "quantile" else (self.min, self.max)
            centre, half = (low + high) / 2, (high - low) / 2
        constant = half <= CONSTANT * np.maximum(1.0, np.abs(centre))
        centre = np.where(self.mask, centre, 0.0)
        half = np.where(self.mask & ~constant, half, 1.0)
        return centre, half, constant & self.mask

    def normalize(self, x: NDArray[Any]) -> NDArray[Any]:
        """Raw units -> normalised; x (..., D). float32 stays float32, everything else becomes float64."""
        x = self._check(x)
        centre, half, constant = self._affine
        out: NDArray[Any] = np.subtract(x, centre)
        out /= half
        if constant.any():
            out[..., constant] = 0.0
        if self.clip and self.mode != "none":
            out = np.where(self.mask, np.clip(out, -1.0, 1.0), out)
        return out.astype(_float(x), copy=False)

    def unnormalize(self, x: NDArray[Any]) -> NDArray[Any]:
        """Normalised -> raw units; x (..., D). The inverse of `normalize` wherever that neither clipped nor flattened."""
        x = self._check(x)
        centre, half, constant = self._affine
        out: NDArray[Any] = np.multiply(x, half)
        out += centre
        if constant.any():
            out[..., constant] = centre[constant]
        return out.astype(_float(x), copy=False)

    def clipped_share(self, x: NDArray[Any]) -> float:
        """Share of values of x (..., D) that lie outside the normaliser's range."""
        centre, half, constant = self._affine
        if self.mode in ("none", "mean_std"):
            return 0.0
        outside = (np.abs((self._check(x) - centre) / half) > 1 + 1e-9) & ~constant & self.mask
        return float(outside.mean())

    def _check(self, x: NDArray[Any]) -> NDArray[Any]:
        x = np.asarray(x)
        if x.shape[-1:] != (self.dim,):
            raise InputError(f"NormStats: data has {x.shape[-1:] or 'no'} dims, the statistics have {self.dim}")
        return x

    def to_entry(self) -> NormStatsEntry:
        """What a JSON file says of these statistics."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return NormStatsEntry(**{name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()})

    @classmethod
    def from_entry(cls, entry: NormStatsEntry) -> "NormStats":
        """The inverse of `to_entry`; also takes an entry of openpi's norm_stats.json (mean, std, q01, q99).

        Raises:
            InputError: arrays of different lengths, NaN or inf.
        """
        low = entry.min if entry.q01 is None else entry.q01
        high = entry.max if entry.q99 is None else entry.q99
        mode: NormMode = "mean_std" if low is None else "quantile"
        low, high = low or entry.mean, high or entry.mean
        wanted = (entry.std, entry.min or low, entry.max or high, low, high)
        mean, std, least, most, q01, q99 = (np.asarray(values, np.float64) for values in (entry.mean, *wanted))
        mask = np.ones(len(mean), bool) if entry.mask is None else np.asarray(entry.mask, bool)
        return cls(entry.mode or mode, mean, std, least, most, q01, q99, mask, entry.clip)

    def to_json(self) -> dict[str, str | bool | list[float] | list[bool]]:
        """Plain lists, for a JSON file."""
        plain: dict[str, str | bool | list[float] | list[bool]] = json_files.encode(self.to_entry())
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, str | bool | Sequence[float] | None]) -> "NormStats":
        """The inverse of `to_json`, and as `from_entry`.

        Raises:
            InputError: a key is missing, unknown or not numeric.
        """
        return cls.from_entry(json_files.decode(NormStatsEntry, data, "NormStats"))


def _float(x: NDArray[Any]) -> np.dtype:
    return x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float64)
