"""Two robots in the same world: what their actions mean, what they feel, what they see.

planar  10 Hz  3 dims   dx, dy per step (delta, m), gripper (1 = open)                    one camera
arm     20 Hz  7 dims   x, y, z (absolute, m), roll, pitch, yaw (absolute, rad), gripper  two cameras, lags its target
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.world import Tables, World, norm

MAX_SPEED = 0.35  # metres per second
FINGER_SPEED = 4.0  # full openings per second
LIFT_SPEED = 0.4  # metres per second
TURN_SPEED = 3.0  # radians per second
TILT = 0.4  # radians that the demonstrator's hand leans, for each m/s of its speed
LAG = 0.6  # share of the way to its target that the arm covers in one step


@dataclass(frozen=True)
class Embodiment:
    """A robot.

    Attributes:
        name: name of the embodiment.
        control_hz: steps per second.
        cameras: camera slots.
        action_names: name of each action dim.
        action_units: unit of each action dim.
        state_names: name of each dim of the proprio vector.
        cruise: height in metres at which the hand travels.
    """

    name: str
    control_hz: float
    cameras: tuple[str, ...]
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    state_names: tuple[str, ...]
    cruise: float

    @property
    def action_dim(self) -> int:
        """Number of dims of an action."""
        return len(self.action_names)

    def action(self, world: World, to: NDArray, height: float, yaw: float, opening: float) -> NDArray[np.float32]:
        """Returns the action (D,) that brings the hand to `to` (2,), as far as one step can."""
        if self.name == "planar":
            return np.array([*(to - world.hand), opening], np.float32)
        ahead = world.hand + (to - world.hand) / LAG
        lift = world.height + (height - world.height) / LAG
        roll, pitch = TILT * (to - world.hand)[::-1] * (-self.control_hz, self.control_hz)  # leans into its motion
        return np.array([*ahead, lift, roll, pitch, world.yaw + (yaw - world.yaw) / LAG, opening], np.float32)

    def apply(self, tables: Tables, actions: NDArray) -> None:
        """Does one control step on N tables.

        Args:
            tables: the N tables, which are changed in place.
            actions: (N, D) in raw units. The robot's speed limits actions that are too large, as a controller would.
        """
        a = np.asarray(actions, np.float64)
        if self.name == "planar":
            move, lift, turn = a[:, :2], np.zeros(len(a)), np.zeros(len(a))
        else:
            move, lift, turn = (
                LAG * (a[:, :2] - tables.hand),
                LAG * (a[:, 2] - tables.height),
                LAG * (a[:, 5] - tables.yaw),
            )
            tables.tilt += LAG * np.clip(a[:, 3:5] - tables.tilt, -1.0, 1.0)
        move = move * np.minimum(1.0, MAX_SPEED / self.control_hz / np.maximum(norm(move), 1e-9))[:, None]
        lift, turn, fingers = (
            np.clip(value, -speed / self.control_hz, speed / self.control_hz)
            for value, speed in ((lift, LIFT_SPEED), (turn, TURN_SPEED), (a[:, -1] - tables.opening, FINGER_SPEED))
        )
        tables.advance(tables.hand + move, tables.height + lift, tables.yaw + turn, tables.opening + fingers)

    def state(self, tables: Tables) -> NDArray[np.float32]:
        """Returns the proprio vectors (N, S), in raw units."""
        if self.name == "planar":
            return np.column_stack([tables.hand, tables.opening]).astype(np.float32)
        parts = [tables.hand, tables.height, tables.tilt, tables.yaw, tables.opening]
        return np.column_stack(parts).astype(np.float32)


PLANAR = Embodiment(
    "planar", 10.0, ("primary",), ("dx", "dy", "gripper"), ("m", "m", ""), ("x", "y", "gripper"), cruise=0.0
)
ARM = Embodiment(
    "arm",
    20.0,
    ("primary", "wrist"),
    ("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
    ("m", "m", "m", "rad", "rad", "rad", ""),
    ("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
    cruise=0.08,
)
EMBODIMENTS = {embodiment.name: embodiment for embodiment in (PLANAR, ARM)}
