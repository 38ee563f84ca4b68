"""Actions relative to the chunk's first state, as lerobot computes them: action i minus state i, except dims excluded by name.

Source: lerobot 0.6.1, processor/relative_action_processor.py. lerobot excludes a dim if its name contains one of the excluded
names; upper and lower case count as equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.errors import InputError
from train.acting.robots import Robot


@dataclass(frozen=True)
class RelativeDims:
    """The names from which lerobot decides which dims are relative.

    Attributes:
        names: names of all action dims.
        kept: excluded names: those of the dims that are not made relative.
    """

    names: tuple[str, ...]
    kept: tuple[str, ...]


def relative_dims(robot: Robot, where: str) -> RelativeDims | None:
    """Returns how lerobot makes a robot's actions relative; None if the actions are as the robot takes them.

    Args:
        robot: robot that acts.
        where: path of the run, for messages.

    Raises:
        InputError: lerobot does not know the form of the actions.
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
    """Returns whether lerobot, given these names, would make exactly the dims in `relative` relative."""
    found = {column for column, name in enumerate(names) if not any(one.lower() in name.lower() for one in kept if one)}
    return found == relative and all(names)
