"""Converts raw action chunks to the numbers that the transform takes, and back.

raw (B, T, D) -> minus reference -> normalised -> gripper to its two ends -> times gain -> without omitted dims (B, T, C)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats, float_type
from fasttok.errors import InputError


@dataclass(frozen=True, eq=False)
class Channels:
    """Converts one embodiment's actions to the numbers that the transform takes, and back.

    Attributes:
        stats: statistics that normalise the actions; None if they are normalised already.
        gain: (D,) factor on the scale; None for 1.
        relative: dims from which the reference is subtracted.
        kept: dims that are tokenised; None for all.
        binary: dims that can have only two values.
        ends: (2, D) these two values, normalised.
        dim: D; None if it is unknown.

    >>> channels = Channels.of(None, Embodiment(10, 3, action_encoding=("delta", "delta", "gripper"), gripper="omit"))
    >>> channels.count(3), channels.forward(np.ones((1, 10, 3))).shape, channels.backward(np.ones((1, 10, 2))).shape
    (2, (1, 10, 2), (1, 10, 3))
    """

    stats: NormStats | None
    gain: NDArray[np.float64] | None = None
    relative: tuple[int, ...] = ()
    kept: NDArray[np.int64] | None = None
    binary: tuple[int, ...] = ()
    ends: NDArray[np.float64] | None = None
    dim: int | None = None

    @classmethod
    def of(cls, stats: NormStats | None, what: Embodiment | None) -> "Channels":
        """Makes the channels that an embodiment asks for."""
        if what is None:
            return cls(stats, dim=None if stats is None else stats.dim)
        grippers = what.gripper_dims if what.gripper != "keep" else []
        kept, ends = None, None
        binary: tuple[int, ...] = ()
        if grippers and what.gripper == "omit":
            kept = np.array([d for d in range(what.action_dim) if d not in grippers], np.int64)
        elif grippers:
            binary = tuple(grippers)
            ends = np.stack([np.full(what.action_dim, -1.0), np.full(what.action_dim, 1.0)])
            if stats is not None:
                ends = stats.normalize(np.stack(stats.ends))
        gain = np.array(what.gain) if what.gain else None
        return cls(stats, gain, what.relative, kept, binary, ends, what.action_dim)

    @property
    def plain(self) -> bool:
        """Whether the transform takes raw units as they are."""
        return self.stats is None and self.gain is None and not self.relative and self.kept is None and not self.binary

    def count(self, action_dim: int) -> int:
        """Returns C, the number of dims that are tokenised out of `action_dim` raw ones."""
        return action_dim if self.kept is None else len(self.kept)

    def forward(self, chunks: NDArray[Any], reference: NDArray[Any] | None = None) -> NDArray[Any]:
        """Converts raw (B, T, D) to (B, T, C). float32 stays float32, everything else becomes float64, unless this is `plain`.

        Raises:
            InputError: dims do not fit, or a reference is missing.
        """
        if self.dim is not None and chunks.shape[-1] != self.dim:
            raise InputError(f"action chunks have {chunks.shape[-1]} dims, the embodiment has {self.dim}")
        x = chunks if self.plain else chunks.astype(float_type(chunks), copy=False)
        if self.relative:
            x = x - self.offset(reference, x)
        if self.stats is not None:
            x = self.stats.normalize(x)
        if self.binary and self.ends is not None:
            dims = list(self.binary)
            x = x.copy()
            high = x[..., dims] > self.ends[:, dims].mean(0)
            x[..., dims] = np.where(high, self.ends[1, dims], self.ends[0, dims])
        if self.gain is not None:
            x = x * self.gain.astype(x.dtype)
        return x if self.kept is None else x[..., self.kept]

    def backward(self, x: NDArray[Any], reference: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Converts (B, T, C) back to raw (B, T, D); omitted dims are NaN."""
        if self.kept is not None and self.dim is not None:
            full = np.full((*x.shape[:-1], self.dim), np.nan)
            full[..., self.kept] = x
            x = full
        if self.gain is not None:
            x = x / self.gain
        if self.binary and self.ends is not None:
            dims = list(self.binary)
            high = x[..., dims] > self.ends[:, dims].mean(0)
            x[..., dims] = np.where(high, self.ends[1, dims], self.ends[0, dims])
        if self.stats is not None:
            x = self.stats.unnormalize(x)
        return x + self.offset(reference, x) if self.relative else x

    def unit(self, channels: int) -> NDArray[np.float64]:
        """Returns (C,): what a normalised value of 1 becomes in each channel."""
        gain = np.ones(channels if self.dim is None else self.dim) if self.gain is None else self.gain
        return gain if self.kept is None else gain[self.kept]

    def offset(self, reference: NDArray[Any] | None, x: NDArray[Any]) -> NDArray[Any] | float:
        """Returns what is subtracted from chunks (B, T, D): the reference in relative dims, 0 elsewhere.

        Raises:
            InputError: the reference is missing, has another shape, or is not finite.
        """
        if not self.relative:
            return 0.0
        if reference is None:
            raise InputError(
                f"dims {list(self.relative)} are relative: pass reference=, (batch, {x.shape[-1]}), such as the state "
                "at the chunk's first step"
            )
        reference = np.atleast_2d(reference_numbers(reference, float_type(x)))
        if reference.shape not in ((1, x.shape[-1]), (len(x), x.shape[-1])):
            raise InputError(f"reference has shape {reference.shape}, expected ({len(x)}, {x.shape[-1]})")
        if not np.isfinite(reference[:, list(self.relative)]).all():
            raise InputError("reference contains NaN or inf in a relative dim")
        offset = np.zeros_like(reference)
        offset[:, list(self.relative)] = reference[:, list(self.relative)]
        return offset[:, None, :]


def reference_numbers(reference: ArrayLike, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Returns what chunks are relative to as an array of numbers.

    Raises:
        InputError: it is something else.
    """
    try:
        found = np.asarray(reference, dtype)
    except (ValueError, TypeError):
        found = np.zeros(0, "U")
    if found.dtype.kind not in "fiub":
        raise InputError(f"reference is {reference!r:.60}, expected (batch, action_dim) numbers")
    return found
