"""Defines the forms in which a mixture may ask for actions, each closed set of words once."""

from typing import Literal, get_args

ActionForm = Literal["stored", "relative", "delta"]
"""Actions as stored, relative to the chunk's first state, or as differences from step to step."""
ACTION_FORMS: tuple[ActionForm, ...] = get_args(ActionForm)

RotationForm = Literal["stored", "euler", "quaternion", "6d"]
"""Rotations as stored, as Euler angles (roll, pitch, yaw), quaternions (xyzw), or the matrix's first two columns."""
ROTATION_FORMS: tuple[RotationForm, ...] = get_args(RotationForm)
