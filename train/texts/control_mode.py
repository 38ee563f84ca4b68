"""Says in the prompt what a robot's actions move, and how: --data.control-mode.

pi0.5 trains on actions of joints and of end effectors, and marks them in the prompt by "<control mode> joint/end effector
<control mode>" (arXiv 2504.16054, section IV-C). Our text says more, since datasets differ in more: "end effector delta".
"""

import logging
import re
from collections.abc import Iterable

from train.acting.robots import Robot

logger = logging.getLogger(__name__)

UNIT = re.compile(r"\s*\(([^)]*)\)$")
# Names of a pose's columns: x, dx, vx, wx, roll, droll, qx, r11. A side or a hand may come before, and .pos, .vel, ... after.
POSE = re.compile(
    r"(?:.*[\s_.])?[dvw]?(?:x|y|z|roll|pitch|yaw|r[xyz]|q[xyzw]|r[123][123]|r\d)(?:[_.](?:pos|vel|delta))?"
)
JOINT = re.compile(
    r"joint|shoulder|elbow|forearm|waist|wrist|knuckle|finger|hip|knee|ankle|torso|neck|motor|\bj\d|\bq\d"
)
BASE = re.compile(r"\bbase\b|\bbase_|wheel|forward|\bturn\b")
FORMS = {"absolute": "position", "delta": "delta", "relative": "relative position"}


def control_mode(robot: Robot) -> str:
    """Returns what most people would call a robot's control mode; "" if the names of its columns do not say.

    The gripper does not count. Columns whose unit is per second are a velocity, unless the mixture makes them relative or delta.

    Returns:
        A text such as "end effector position", "joint delta" or "joint velocity and base velocity".
    """
    found: list[str] = []
    for name, encoding in zip(robot.action_names, robot.action_encoding, strict=True):
        unit = UNIT.search(name)
        plain = UNIT.sub("", name).strip().lower()
        if encoding == "gripper" or "gripper" in plain:
            continue
        part = _part(plain)
        if not part:
            return ""
        stored = robot.representation is None or robot.representation.form == "stored"
        rate = stored and unit is not None and unit[1].endswith("/s")
        words = f"{part} {'velocity' if rate else FORMS.get(encoding, encoding)}"
        found += [] if words in found else [words]
    return " and ".join(found)


def control_modes(robots: Iterable[Robot]) -> dict[str, str]:
    """Returns the control mode of each embodiment, from its first robot. Warns about those whose columns say nothing."""
    found: dict[str, str] = {}
    for robot in robots:
        if robot.embodiment not in found:
            found[robot.embodiment] = control_mode(robot)
            if not found[robot.embodiment]:
                named = ", ".join(robot.action_names)
                logger.warning(
                    f"note: --data.control-mode says nothing of {robot.embodiment}, whose actions are {named}"
                )
    return found


def _part(name: str) -> str:
    """Returns the part of the robot that a column belongs to, or "" if its name does not say.

    >>> [_part(name) for name in ("x", "droll", "left_qw", "joint 3", "shoulder_pan.pos", "base x", "a 0")]
    ['end effector', 'end effector', 'end effector', 'joint', 'joint', 'base', '']
    """
    if BASE.search(name):
        return "base"
    if JOINT.search(name):
        return "joint"
    return "end effector" if POSE.fullmatch(name) else ""
