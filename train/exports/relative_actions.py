"""Actions relative to the chunk's first state, as lerobot has them: action i minus state i, but for dims left out by name.

Source: lerobot 0.6.1, processor/relative_action_processor.py. A dim is left out if one of the names to leave out is a part of its
own, whatever the case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.errors import InputError
from train.acting.robots import Robot


@dataclass(frozen=True)
class RelativeDims:
    """What lerobot reads.

    Attributes:
        names: of all action dims.
        kept: names of those that are not made relative.
    """

    names: tuple[str, ...]
    kept: tuple[str, ...]


def relative_dims(robot: Robot, where: str) -> RelativeDims | None:
    """How lerobot makes a robot's actions relative; None if they are as the robot takes them.

    Args:
        robot: who acts.
        where: the run, for messages.

    Raises:
        InputError: their form is none that lerobot knows.
    """
    form = robot.representation
    if form is None:
        return None
    rotated = form.rotation != "stored" and any(piece.rotation for piece in form.pieces)
    moved = [piece for piece in form.pieces if form.form != "stored" and piece.encoding != "gripper"]
    moved = [piece for piece in moved if not (form.form == "delta" and piece.encoding == "delta")]
    if not rotated and not moved:
        return None
    columns = {column for piece in moved for column in range(piece.start, piece.start + piece.width)}
    same = all(
        piece.encoding == "absolute"
        and not piece.rotation
        and piece.state == tuple(range(piece.start, piece.start + piece.width))
        for piece in moved
    )
    if rotated or form.form != "relative" or not same or robot.state_dim < robot.action_dim:
        raise InputError(
            f"{where}: the actions of {robot.embodiment} are represented as {form.name}, which lerobot cannot bring back to what "
            "the robot takes: it only adds state i to action i. Serve the run with fasttok-serve, or train on shards whose "
            "actions are as stored, or relative without rotations"
        )
    names = tuple(robot.action_names)
    kept = tuple(name for column, name in enumerate(names) if column not in columns)
    if not _right(names, kept, columns):
        names = tuple(f"[{column}] {name}" for column, name in enumerate(names))
        kept = tuple(name for column, name in enumerate(names) if column not in columns)
    return RelativeDims(names, kept)


def _right(names: Sequence[str], kept: Sequence[str], relative: set[int]) -> bool:
    """Whether lerobot, told so, would make just these dims relative."""
    found = {column for column, name in enumerate(names) if not any(one.lower() in name.lower() for one in kept if one)}
    return found == relative and all(names)
