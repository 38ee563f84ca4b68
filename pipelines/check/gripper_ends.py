"""Finds the value that means an open gripper, from a state whose name says that it is a width, or from how episodes begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.action_meaning import Strength

WIDTHS = ("width", "opening", "aperture", "openness", "open_amount")
CLOSINGS = ("closedness", "closed_amount", "closure")
BEGINS = 0.9  # share of episodes that must begin at the same end, for some evidence


@dataclass(frozen=True)
class GripperEnds:
    """The two ends of a gripper dim, as an entry writes them.

    Attributes:
        closed: the stored value that means closed, None if it is not known.
        open: the stored value that means open, None if it is not known.
        strength: strength of the evidence.
        why: the evidence, in words.
    """

    closed: float | None
    open: float | None
    strength: Strength
    why: str


def two_ends(values: NDArray[Any]) -> tuple[float, float] | None:
    """Returns the two ends of a dim whose values are mostly near one of them, (low, high); None for another dim.

    >>> two_ends(np.array([0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]))
    (0.0, 1.0)
    >>> two_ends(np.arange(50.0))
    """
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if len(flat) < 2:
        return None
    low, high = (float(end) for end in np.quantile(flat, [0.001, 0.999]))
    if high <= low:
        return None
    near = (np.abs(flat - low) < 0.05 * (high - low)) | (np.abs(flat - high) < 0.05 * (high - low))
    return (low, high) if near.mean() >= 0.6 else None


def gripper_ends(
    commands: Sequence[NDArray[Any]], widths: Sequence[NDArray[Any]] | None = None, state_name: str = ""
) -> GripperEnds:
    """Finds the ends of a gripper command.

    Args:
        commands: an array (T,) per episode.
        widths: an array (T,) per episode, the gripper's state; None if there is none.
        state_name: name of the state. A name such as width or opening means that larger values are more open.

    >>> command = np.repeat([0.0, 1.0, 0.0], 20)
    >>> width = np.repeat([0.08, 0.01, 0.08], 20)
    >>> ends = gripper_ends([command] * 3, [width] * 3, "gripper_width")
    >>> ends.closed, ends.open, ends.strength
    (1.0, 0.0, 'strong')
    """
    joined = np.concatenate([np.ravel(c) for c in commands]) if commands else np.zeros(0)
    joined = joined[np.isfinite(joined)]
    if len(joined) < 2 or np.ptp(joined) <= 0:
        return GripperEnds(None, None, "none", "the gripper never moves")
    low, high = two_ends(joined) or (float(joined.min()), float(joined.max()))
    name = state_name.lower()
    sign = 1 if any(word in name for word in WIDTHS) else -1 if any(word in name for word in CLOSINGS) else 0
    r = follows(commands, widths) if widths is not None else 0.0
    if sign and abs(r) >= 0.6:
        opened = high if r * sign > 0 else low
        why = f"the command follows {state_name} with a correlation of {r:.2f}"
        return GripperEnds(low + high - opened, opened, "strong", why)
    first = np.array([float(np.ravel(c)[0]) for c in commands if len(c)])
    at_high = np.abs(first - high) < 0.1 * (high - low)
    at_low = np.abs(first - low) < 0.1 * (high - low)
    for opened, share in ((high, at_high.mean()), (low, at_low.mean())):
        if share >= BEGINS and len(first) >= 5:
            why = (
                f"{percent(share, 0)} of the episodes begin with {opened:g}, and most tasks begin with an open gripper"
            )
            return GripperEnds(low + high - opened, opened, "some", why)
    return GripperEnds(None, None, "none", "nothing tells which end is open")


def follows(commands: Sequence[NDArray[Any]], widths: Sequence[NDArray[Any]], lags: int = 8) -> float:
    """Returns the correlation of a command with a later state, at the delay that fits best.

    Args:
        commands: an array (T,) per episode.
        widths: an array (T,) per episode, the gripper's state.
        lags: longest delay in steps.
    """
    best = 0.0
    for lag in range(lags + 1):
        both = [(np.ravel(c), np.ravel(w)) for c, w in zip(commands, widths, strict=True) if len(c) > lag + 1]
        pairs = [(command[: len(command) - lag], width[lag:]) for command, width in both]
        if not pairs:
            break
        x, y = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
        fine = np.isfinite(x) & np.isfinite(y)
        x, y = x[fine], y[fine]
        if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
            r = float(np.corrcoef(x, y)[0, 1])
            best = r if abs(r) > abs(best) else best
    return best
