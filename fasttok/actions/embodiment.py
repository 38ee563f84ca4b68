"""Describes a robot's actions, and what of them is tokenised."""

from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.common.choices import Gripper
from fasttok.common.json_files import IF_NOT_DEFAULT
from fasttok.common.kinds import ENCODINGS
from fasttok.errors import InputError

GRIPPERS: tuple[str, ...] = get_args(Gripper)
ENCODED = (*ENCODINGS, "relative")  # a mixture may ask for relative actions


@dataclass(frozen=True)
class Embodiment:
    """One robot and action space.

    Attributes:
        horizon: steps per chunk.
        action_dim: D, dims per step.
        control_hz: control frequency in Hz, None if unknown.
        action_encoding: "absolute", "delta", "relative" or "gripper" for each dim; () if unknown.
        gripper: how "gripper" dims are tokenised: kept like any other; binarized (tokens and decoded actions have only the two
            ends of their range); or omitted (not tokenised; decoded as NaN).
        relative: dims that are tokenised as the difference from a reference given with each chunk, such as the robot's state.
        gain: factor on the tokenizer's scale for each dim (2: half the rounding error there, more tokens); () for 1.
        form: form to which the stored actions were converted first (`fasttok.actions.representation`); "" for as stored.
        relative_to: the column of the state that each dim of `relative` is relative to; () for the column of the same number.
        state_key: the step feature that is the state, "" for `proprio`.
    """

    horizon: int
    action_dim: int
    control_hz: float | None = None
    action_encoding: tuple[str, ...] = ()
    gripper: Gripper = "keep"
    relative: tuple[int, ...] = ()
    gain: tuple[float, ...] = ()
    form: str = ""
    relative_to: tuple[int, ...] = field(default=(), metadata=IF_NOT_DEFAULT)
    state_key: str = field(default="", metadata=IF_NOT_DEFAULT)

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.action_dim < 1:
            raise InputError(
                f"embodiment: horizon is {self.horizon} and action_dim {self.action_dim}, expected at least 1"
            )
        strange = [encoding for encoding in self.action_encoding if encoding not in ENCODED]
        if strange or len(self.action_encoding) not in (0, self.action_dim):
            raise InputError(
                f"embodiment: action_encoding is {list(self.action_encoding)}, expected one of {', '.join(ENCODED)} for each of "
                f"the {self.action_dim} dims, or none"
            )
        if self.gripper not in GRIPPERS:
            raise InputError(f"embodiment: gripper is {self.gripper!r}, expected one of {', '.join(GRIPPERS)}")
        if self.gripper == "omit" and len(self.gripper_dims) == self.action_dim:
            raise InputError(
                "embodiment: every dim is a gripper, so gripper omit leaves none to tokenise; use keep or binarize"
            )
        if self.gain and (len(self.gain) != self.action_dim or not all(0 < g < float("inf") for g in self.gain)):
            raise InputError(f"embodiment: gain is {list(self.gain)}, expected {self.action_dim} positive numbers")
        if any(not 0 <= d < self.action_dim for d in self.relative):
            raise InputError(
                f"embodiment: relative dims {list(self.relative)}, expected numbers below {self.action_dim}"
            )

        if self.relative_to and (len(self.relative_to) != len(self.relative) or min(self.relative_to) < 0):
            raise InputError(
                f"embodiment: relative_to is {list(self.relative_to)}, expected a state column for each of the relative dims "
                f"{list(self.relative)}"
            )

    @property
    def state_columns(self) -> tuple[int, ...]:
        """The column of the state that each dim of `relative` is relative to."""
        return self.relative_to or self.relative

    def reference(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """Returns what chunks are relative to: states at their first steps (n, S) -> (n, D), 0 in dims that are not relative.

        This is what `ActionTokenizer.encode` and `decode` take as `reference=`.

        Raises:
            InputError: the states have too few columns.

        >>> Embodiment(10, 3, relative=(0, 2), relative_to=(4, 1)).reference(np.arange(5.0)[None])
        array([[4., 0., 1.]])
        """
        states = np.asarray(states, np.float64)
        columns = list(self.state_columns)
        if states.ndim != 2 or (columns and states.shape[1] <= max(columns)):
            raise InputError(
                f"states have shape {states.shape}, expected (n, S), the state at each chunk's first step; dims "
                f"{list(self.relative)} are relative to its columns {columns}"
            )
        found = np.zeros((len(states), self.action_dim))
        found[:, list(self.relative)] = states[:, columns]
        return found

    @property
    def gripper_dims(self) -> list[int]:
        """Dims whose encoding is "gripper".

        >>> Embodiment(10, 2, action_encoding=("delta", "gripper")).gripper_dims
        [1]
        """
        return [d for d, encoding in enumerate(self.action_encoding) if encoding == "gripper"]
