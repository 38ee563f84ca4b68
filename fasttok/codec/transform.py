"""Transforms between normalised chunks and the whole numbers that are coded.

`Transform` is what all of them do, and `Dct` is FAST's. `Learned` is an orthonormal transform that a fit learned from its chunks:
its coefficients are fewer, or smaller, at the same error, because the dims of a robot move together and its motions have shapes
of their own. The third transform is in `fasttok.codec.spline`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasttok.codec import dct
from fasttok.common.choices import TransformName
from fasttok.errors import InputError

ORTHONORMAL = 1e-6  # most that a product of two directions may differ from 0 or 1
NONE = np.zeros((0, 0))


class Transform(Protocol):
    """Converts normalised chunks to coefficients, in the order in which they are coded, and back."""

    def coefficients(self, x: NDArray[Any], scale: float, rounded: bool = True, /) -> NDArray[Any]:
        """Converts (B, T, C) chunks to (B, K, C): K * C coefficients of each chunk, times scale; whole numbers if rounded."""

    def actions(self, coefs: NDArray[np.float64], scale: float, horizon: int, width: int, /) -> NDArray[np.float64]:
        """Converts (B, K * C) coefficients to (B, T, C) chunks; T is `horizon`, C is `width`."""

    def rows(self, horizon: int, /) -> int:
        """Returns K, for chunks of so many steps."""

    def reach(self, unit: NDArray[np.float64], horizon: int, scale: float, /) -> float:
        """Returns the largest coefficient of chunks whose channels stay within plus or minus `unit` (C,)."""


@dataclass(frozen=True)
class Dct:
    """FAST's transform: a DCT along time, low frequencies first. A coefficient is off by at most 0.5 / scale."""

    def coefficients(self, x: NDArray[Any], scale: float, rounded: bool = True) -> NDArray[Any]:
        """See `dct.coefficients`."""
        return dct.coefficients(x, scale, rounded)

    def actions(self, coefs: NDArray[np.float64], scale: float, horizon: int, width: int) -> NDArray[np.float64]:
        """See `dct.actions`."""
        return dct.actions(coefs.reshape(-1, horizon, width), scale)

    def rows(self, horizon: int) -> int:
        """Returns the horizon: there is one row of coefficients per step."""
        return horizon

    def reach(self, unit: NDArray[np.float64], horizon: int, scale: float) -> float:
        """Returns the largest coefficient, which a chunk has that rests at `unit`."""
        return float(scale * horizon**0.5 * unit.max())


DCT = Dct()


@dataclass(frozen=True, eq=False)
class Learned:
    """An orthonormal transform of chunks of one shape (T, C), learned from data; `learn_transform` makes it.

    It takes the DCT or a learned basis along time. Then, if it has rotations, it rotates the channels at each frequency. Then it
    puts the coefficients in a fixed order. Each coefficient is rounded at `scale * finer`; one that would round to 1 or -1 but is
    smaller than `dead` becomes 0. So the error of a coefficient is at most max(0.5, dead) / (scale * finer). As the transform is
    orthonormal, the root mean square error of a chunk is at most that, too.

    Attributes:
        horizon: T, steps per chunk.
        width: C, channels of a chunk.
        finer: factor on the tokenizer's scale, so that the error is that of the DCT at the scale that the user asked for.
        dead: threshold below which coefficients become 0, from 0.5 to 1.
        order: (T * C,) number of the coefficient at each place, which is frequency * C + channel.
        basis: (T, T) a row for each step, a column for each frequency; (0, 0) for the DCT.
        rotations: (T, C, C) at each frequency, a row for each channel; (0, 0, 0) if channels are not rotated.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, or directions that are not orthonormal.
    """

    horizon: int
    width: int
    finer: float
    dead: float
    order: NDArray[np.int64]
    basis: NDArray[np.float64]
    rotations: NDArray[np.float64]

    def __post_init__(self) -> None:
        t, c = self.horizon, self.width
        if min(t, c) < 1 or not (0 < self.finer < float("inf") and 0.5 <= self.dead <= 1):
            raise InputError(
                f"a transform of horizon {t}, width {c}, finer {self.finer} and dead {self.dead}; expected whole numbers from 1 "
                "on, a positive number, and 0.5 to 1"
            )
        if self.order.shape != (t * c,) or not np.array_equal(np.sort(self.order), np.arange(t * c)):
            raise InputError(f"the order of a transform is not each of its {t * c} coefficients once")
        for what, array, shape in (("basis", self.basis, (t, t)), ("rotations", self.rotations, (t, c, c))):
            if not array.size:
                continue
            if array.shape != shape:
                raise InputError(f"the {what} of a transform have shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise InputError(f"the {what} of a transform contain NaN or inf")
            off = np.abs(np.swapaxes(array, -1, -2) @ array - np.eye(shape[-1])).max()
            if off > ORTHONORMAL:
                raise InputError(
                    f"the {what} of a transform are not orthonormal ({off:.2g} off, expected at most {ORTHONORMAL:g}), so errors "
                    "would grow"
                )

    @property
    def kind(self) -> TransformName:
        """What is learned: `basis`, `rotation` or `both`."""
        return "rotation" if not self.basis.size else "both" if self.rotations.size else "basis"

    def rows(self, horizon: int) -> int:
        """Returns T, after checking that it is `horizon`.

        Raises:
            InputError: the chunks have another length.
        """
        if horizon != self.horizon:
            raise InputError(
                f"chunks of {horizon} steps, but this tokenizer's transform was learned for {self.horizon}; pass chunks of "
                f"{self.horizon} steps, or fit one of {horizon} (--transform dct takes any)"
            )
        return horizon

    def coefficients(self, x: NDArray[Any], scale: float, rounded: bool = True) -> NDArray[Any]:
        """Converts (B, T, C) chunks to (B, T, C) float64 coefficients, in the order in which they are coded.

        Raises:
            InputError: the chunks have another shape.
        """
        self._check(x.shape[1], x.shape[2])
        from fasttok.codec import rotate

        if not self.basis.size:
            x = dct.coefficients(x, 1.0, rounded=False)
        if (
            x.dtype not in (np.float32, np.float64) or not x.flags.writeable
        ):  # a kernel is compiled for each kind of array
            x = x.astype(np.float64)
        x = np.ascontiguousarray(x)
        out = np.empty((len(x), self.horizon * self.width))
        dead = self.dead if rounded else -1.0
        rotate.forward_rows(x, self.basis, self.rotations, self._places, scale * self.finer, dead, out)
        return out.reshape(-1, self.horizon, self.width)

    def actions(self, coefs: NDArray[np.float64], scale: float, horizon: int, width: int) -> NDArray[np.float64]:
        """Converts (B, T * C) coefficients to (B, T, C) chunks.

        Raises:
            InputError: the chunks have another shape.
        """
        self._check(horizon, width)
        from fasttok.codec import rotate

        out = np.empty((len(coefs), horizon, width))
        rotate.backward_rows(
            np.ascontiguousarray(coefs), *self._transposed, self._places, scale * self.finer, out
        )  # fmt: skip
        return out if self.basis.size else dct.inverse(out)

    def reach(self, unit: NDArray[np.float64], horizon: int, scale: float) -> float:
        """Returns the largest coefficient, exactly: each one is largest if each value is at an end of its range."""
        time = np.abs(self.basis if self.basis.size else dct.coefficients(np.eye(horizon)[None], 1.0, False)[0].T).sum(
            0
        )
        turned = np.einsum("fcd,c->fd", np.abs(self.rotations), unit) if self.rotations.size else unit[None]
        return scale * self.finer * float((time[:, None] * turned).max())

    def _check(self, horizon: int, width: int) -> None:
        self.rows(horizon)
        if width != self.width:
            raise InputError(f"chunks of {width} dims, but this tokenizer's transform was learned for {self.width}")

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        return np.argsort(self.order)

    @cached_property
    def _transposed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.ascontiguousarray(self.basis.T), np.ascontiguousarray(self.rotations.transpose(0, 2, 1))
