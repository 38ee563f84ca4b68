"""MetaWorld's robot, a simulated Sawyer: what its actions mean, what it feels, what it sees. This module needs no simulator.

Sources: metaworld 3.1.1, sawyer_xyz_env.py (actions, observation, 5 simulator steps of 2.5 ms in each control step).
"""

import numpy as np
from numpy.typing import NDArray

EMBODIMENT = "metaworld_sawyer"
CONTROL_HZ = 80.0  # 1 / env.dt
MAX_STEPS = 500  # maximum number of steps of an episode: the package's max_path_length
ACTION_DIM = 4
STATE_DIM = 4
SIZE = 128  # width and height of every picture in pixels
CAMERAS = {"primary": "corner2", "wrist": "gripperPOV"}  # the simulator's camera of each slot
FEATURES = {"primary": "image", "wrist": "wrist_image"}  # the dataset's feature of each slot
DATASET = "metaworld"
ENTRY = f"""name: {DATASET}
kind: robot
embodiment: {EMBODIMENT}
robot: Sawyer (MetaWorld, simulated)
control_hz: {CONTROL_HZ:g}
cameras: {{primary: observation/image, wrist: observation/wrist_image}}
language: language_instruction
action:
  # In hundredths of a metre a step; -1 opens the gripper, 1 closes it.
  - {{from: action, slice: [0, 3], encoding: delta, unit: cm, names: [x, y, z]}}
  - {{from: action, slice: [3, 4], encoding: gripper, closed: 1, open: -1, names: [gripper]}}
proprio:
  - {{from: observation/state, slice: [0, 3], encoding: absolute, unit: m, names: [x, y, z]}}
  - {{from: observation/state, slice: [3, 4], encoding: gripper, closed: 0, open: 1, names: [gripper]}}
license: MIT
citation: yu2019metaworld
"""


def known_to_robot(observation: NDArray) -> NDArray[np.float32]:
    """Returns the part of MetaWorld's observation that a robot would know: where its hand is, and how far its gripper is open.

    Positions and rotations of the objects, the values of the last step and the goal are left out: a robot has to look.

    Args:
        observation: (39,) as the package gives it.

    Returns:
        (4,) float32: hand x, y, z in metres; gripper from 0 (closed) to 1 (open).

    Raises:
        ValueError: `observation` has another shape.
    """
    observation = np.asarray(observation)
    if observation.shape != (39,):
        raise ValueError(f"expected MetaWorld's observation of 39 numbers, got an array of shape {observation.shape}")
    return observation[:STATE_DIM].astype(np.float32)


def as_taken(action: NDArray) -> NDArray[np.float32]:
    """Cuts each number of an action to [-1, 1], as the simulator does. A scripted expert may ask for more.

    Raises:
        ValueError: `action` is not 4 finite numbers.
    """
    return np.clip(_checked(action), -1.0, 1.0).astype(np.float32)


def to_simulator(action: NDArray) -> NDArray[np.float32]:
    """Converts a policy's action to the simulator's convention.

    Args:
        action: (4,) as an INDEX has it: x, y, z in cm per step, gripper 1 = open, 0 = closed. Values that are too large are cut.

    Returns:
        (4,) float32 in [-1, 1]; gripper -1 opens, 1 closes.

    Raises:
        ValueError: `action` is not 4 finite numbers.

    >>> to_simulator(np.array([0.5, -3.0, 0.0, 1.0])).tolist()
    [0.5, -1.0, 0.0, -1.0]
    """
    action = _checked(action)
    return as_taken(np.append(action[:3], 1.0 - 2.0 * action[3]))


def to_index(action: NDArray) -> NDArray[np.float32]:
    """Converts a simulator's action to the convention of an INDEX; the inverse of `to_simulator`.

    Raises:
        ValueError: `action` is not 4 finite numbers.
    """
    action = as_taken(action)
    return np.append(action[:3], (1.0 - action[3]) / 2.0).astype(np.float32)


def _checked(action: NDArray) -> NDArray[np.float64]:
    action = np.asarray(action, np.float64)
    if action.shape != (ACTION_DIM,) or not np.isfinite(action).all():
        raise ValueError(f"{EMBODIMENT}: expected {ACTION_DIM} finite numbers, got {action}")
    return action
