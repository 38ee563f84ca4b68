"""What a robot's actions are, and what of them is tokenised."""

from dataclasses import dataclass
from typing import Literal, get_args

from fasttok.errors import InputError

Gripper = Literal["keep", "binarize", "omit"]
GRIPPERS: tuple[str, ...] = get_args(Gripper)


@dataclass(frozen=True)
class Embodiment:
    """One robot and action space.

    Attributes:
        horizon: steps per chunk.
        action_dim: D.
        control_hz: control frequency in Hz, None if unknown.
        action_encoding: "absolute", "delta" or "gripper" for each dim; () if unknown.
        gripper: how "gripper" dims are tokenised: kept like any other; binarized (tokens and decoded actions know only the two
            ends of their range); or omitted (not tokenised; decoded as NaN).
        relative: dims that are tokenised as the difference to a reference given with each chunk, such as the robot's state.
        gain: factor on the tokenizer's scale for each dim (2: half the rounding error there, more tokens); () for 1.
        form: how the stored actions were represented first (`fasttok.actions.representation`), "" for as stored.
    """

    horizon: int
    action_dim: int
    control_hz: float | None = None
    action_encoding: tuple[str, ...] = ()
    gripper: Gripper = "keep"
    relative: tuple[int, ...] = ()
    gain: tuple[float, ...] = ()
    form: str = ""

    def __post_init__(self) -> None:
        if self.gripper not in GRIPPERS:
            raise InputError(f"embodiment: gripper is {self.gripper!r}, expected one of {', '.join(GRIPPERS)}")
        if self.gain and (len(self.gain) != self.action_dim or not all(0 < g < float("inf") for g in self.gain)):
            raise InputError(f"embodiment: gain is {list(self.gain)}, expected {self.action_dim} positive numbers")
        if any(not 0 <= d < self.action_dim for d in self.relative):
            raise InputError(
                f"embodiment: relative dims {list(self.relative)}, expected numbers below {self.action_dim}"
            )

    @property
    def gripper_dims(self) -> list[int]:
        """Dims whose encoding is "gripper".

        >>> Embodiment(10, 2, action_encoding=("delta", "gripper")).gripper_dims
        [1]
        """
        return [d for d, encoding in enumerate(self.action_encoding) if encoding == "gripper"]
