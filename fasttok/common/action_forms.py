"""In which forms a mixture may ask for actions: a closed set of words, defined here, once."""

from typing import Literal, get_args

ActionForm = Literal["stored", "relative", "delta"]
"""As stored, relative to the chunk's first state, or per-step differences."""
ACTION_FORMS: tuple[ActionForm, ...] = get_args(ActionForm)

RotationForm = Literal["stored", "euler", "quaternion", "6d"]
"""As stored, Euler angles (roll, pitch, yaw), quaternions (xyzw) or the first two columns of the matrix."""
ROTATION_FORMS: tuple[RotationForm, ...] = get_args(RotationForm)
