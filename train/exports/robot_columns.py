"""Sets the weights of action columns that a robot does not have to zero, so that the model ignores these columns.

If a run has robots with wider actions, its flow puts noise into these columns, as in training (`train.policy.integrate`).
Programs of other projects compute them like all others instead, which the model never saw.
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
    """Returns the arrays with zeros in `action_in` for columns that the robot does not have, and rows for the report.

    Args:
        flat: our arrays by path.
        model: the model's shapes.
        robot: robot whose columns stay.
    """
    if robot.action_dim >= model.action_dim:
        return flat, ()
    kernel = np.array(flat[ACTION_IN])
    kernel[robot.action_dim :] = 0.0
    note = f"zeros for columns {robot.action_dim} to {model.action_dim - 1}, which {robot.embodiment} does not have"
    return {**flat, ACTION_IN: kernel}, (ReportRow("differs", ACTION_IN, 0, 0, note),)
