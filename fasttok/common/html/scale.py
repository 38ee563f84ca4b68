"""Converts values to pixels, and chooses the round values to write beside an axis."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis: `low` is drawn at pixel `start`, `low + span` at `start + length`.

    Attributes:
        low: value at the start of the axis.
        span: difference between the values at the end and at the start, not 0.
        start: pixel at which the axis begins.
        length: length in pixels, negative for an axis that points up.
    """

    low: float
    span: float
    start: float
    length: float

    def at(self, value: float) -> float:
        """Returns the pixel of a value.

        >>> Scale(low=10.0, span=10.0, start=100.0, length=-50.0).at(15.0)
        75.0
        """
        return self.start + (value - self.low) / self.span * self.length


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Returns round tick values that span [low, high], in about `count` steps.

    >>> ticks(0.0, 0.93)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not high - low > 1e-12:  # tick values are rounded to 12 decimals, so this range has no ticks of its own
        pad = 0.5 * max(abs(low), abs(high)) if max(abs(low), abs(high)) > 1e-12 else 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def ticks_within(low: float, high: float, count: int = 4) -> list[float]:
    """Returns the round tick values that are in [low, high].

    >>> ticks_within(0.0, 0.93)
    [0.0, 0.25, 0.5, 0.75]
    """
    return [value for value in ticks(low, high, count) if low <= value <= high]


def tick_label(value: float) -> str:
    """Returns a tick's value as short text.

    >>> tick_label(12000), tick_label(0.25), tick_label(1.075), tick_label(1 / 3), tick_label(2.5e6)
    ('12k', '0.25', '1.075', '0.333', '2.5M')
    """
    if 1e4 <= abs(value) < 1e9:
        return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
    exact = f"{value:.6g}"  # round values stay exact, others are shortened
    if float(exact) == value:
        return exact
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e4 else f"{value:.4g}" if abs(value) >= 1e4 else f"{value:.3g}"
