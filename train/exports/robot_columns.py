"""The action columns of a model that one robot does not have: their part of `action_in` can be taken out, so nothing reads them.

The flow of a run with wider actions feeds them with noise, as in training (`train.policy.integrate`). Programs of other projects
let them move freely instead, which the model never saw.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from train.acting.robots import Robot
from train.config import ModelConfig
from train.weights.matching import ReportRow

ACTION_IN = "expert/action_in/kernel"


def own_columns(
    flat: Mapping[str, ArrayLike], model: ModelConfig, robot: Robot
) -> tuple[Mapping[str, ArrayLike], tuple[ReportRow, ...]]:
    """The arrays with zeros in `action_in` for columns that are not the robot's, and what the report says of it.

    Args:
        flat: our arrays by path.
        model: its shapes.
        robot: whose columns stay.
    """
    if robot.action_dim >= model.action_dim:
        return flat, ()
    kernel = np.array(flat[ACTION_IN])
    kernel[robot.action_dim :] = 0.0
    note = f"zeros for columns {robot.action_dim} to {model.action_dim - 1}, which {robot.embodiment} does not have"
    return {**flat, ACTION_IN: kernel}, (ReportRow("differs", ACTION_IN, 0, 0, note),)
