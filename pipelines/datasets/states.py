"""Finds the columns of the proprio that contain the state which an action part commands.

A part may name its state (`state: observation/pose_l`). Otherwise the state is the proprio part with the same names, rotation
and width. Several alike parts, such as those of two arms, are paired in their order if there are as many states as commands.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.episodes.dataset_entry import FeatureColumns
from fasttok.errors import InputError

SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}


@dataclass(frozen=True)
class _Placed:
    """A part and its columns.

    Attributes:
        number: number of the part in the entry, counted from 0.
        part: the part in the entry.
        columns: numbers of its columns in the action or the proprio.
    """

    number: int
    part: FeatureColumns
    columns: tuple[int, ...]

    @property
    def key(self) -> tuple[str, tuple[str, ...] | str, int]:
        """What parts must have in common to be paired."""
        return self.part.rotation, self.part.names or self.part.feature, len(self.columns)

    @property
    def source(self) -> tuple[str, int]:
        """Feature and first column that the part is taken from."""
        return self.part.feature, self.part.start

    @property
    def side(self) -> str:
        """Arm that the feature's path names, "" if it names none or both."""
        words = re.split(r"[^a-z]+", self.part.feature.lower())
        found = {SIDES[word] for word in words if word in SIDES}
        return found.pop() if len(found) == 1 else ""


def states(
    action: Sequence[FeatureColumns],
    action_widths: Sequence[int],
    proprio: Sequence[FeatureColumns],
    proprio_widths: Sequence[int],
) -> tuple[tuple[int, ...], ...]:
    """Returns for each action part the columns of the proprio with its state; () if it has none or is not absolute.

    Args:
        action: parts of the action.
        action_widths: number of columns of each.
        proprio: parts of the proprio.
        proprio_widths: number of columns of each.

    Raises:
        InputError: several parts could take the same columns, a part names a state that does not fit, or units differ.

    >>> left, right = FeatureColumns("l", names=("x",)), FeatureColumns("r", names=("x",))
    >>> states([left, right], [1, 1], [left, right], [1, 1])
    ((0,), (1,))
    """
    free = [place for place in _placed(proprio, proprio_widths) if place.part.encoding == "absolute"]
    wanting = [place for place in _placed(action, action_widths) if place.part.encoding == "absolute"]
    found: dict[int, _Placed] = {}
    for command in wanting:
        if command.part.state:
            found[command.number] = _named(command, free)
    taken = [place.number for place in found.values()]
    twice = next((number for number in taken if taken.count(number) > 1), None)
    if twice is not None:
        users = ", ".join(f"action[{number}]" for number, place in found.items() if place.number == twice)
        raise InputError(f"{users} name the same state, proprio[{twice}]; each needs its own")
    free = [place for place in free if place.number not in taken]
    wanting = [command for command in wanting if command.number not in found]
    for key in dict.fromkeys(command.key for command in wanting):
        found |= _paired([c for c in wanting if c.key == key], [p for p in free if p.key == key])
    for number, place in found.items():
        _check_unit(number, action[number], place)
    return tuple(found[number].columns if number in found else () for number in range(len(action)))


def _placed(parts: Sequence[FeatureColumns], widths: Sequence[int]) -> list[_Placed]:
    placed, at = [], 0
    for number, (part, width) in enumerate(zip(parts, widths, strict=True)):
        placed.append(_Placed(number, part, tuple(range(at, at + width))))
        at += width
    return placed


def _named(command: _Placed, free: Sequence[_Placed]) -> _Placed:
    """Returns the proprio part that a command names as its state."""
    of_feature = [place for place in free if place.part.feature == command.part.state]
    fitting = [
        p for p in of_feature if len(p.columns) == len(command.columns) and p.part.rotation == command.part.rotation
    ]
    same_names = [place for place in fitting if place.part.names == command.part.names]
    chosen = same_names if len(fitting) > 1 else fitting
    if len(chosen) != 1:
        what = f"{len(command.columns)} columns" + (f" with {command.part.rotation}" * bool(command.part.rotation))
        raise InputError(
            f"action[{command.number}] names the state {command.part.state}, of which the proprio has {len(chosen)} absolute "
            f"parts of {what} under its names; expected one: list that part of the feature in proprio, with names of its own"
        )
    return chosen[0]


def _paired(commands: list[_Placed], places: list[_Placed]) -> dict[int, _Placed]:
    """Pairs alike commands and states: number of the command -> its state; {} if the proprio contains no state of theirs."""
    found: dict[int, _Placed] = {}
    for command in commands:  # first, commands that are columns of the stored state themselves
        same = next((p for p in places if p.source == command.source), None)
        if same and same not in found.values():
            found[command.number] = same
    commands = [command for command in commands if command.number not in found]
    places = [place for place in places if place not in found.values()]
    if not commands or not places:
        return found
    crossed = any(c.side and p.side and c.side != p.side for c, p in zip(commands, places, strict=False))
    if len(commands) != len(places) or crossed:
        asked = ", ".join(f"action[{command.number}]" for command in commands)
        there = ", ".join(f"proprio[{place.number}] ({place.part.feature})" for place in places)
        why = (
            "their order does not fit the sides that their features name"
            if crossed
            else "they cannot be paired by order"
        )
        raise InputError(
            f"{asked} could take its state from {there}, and {why}; say which in the dataset's entry, such as "
            f"`state: {places[0].part.feature}` in action[{commands[0].number}], and index the dataset again"
        )
    return found | {command.number: place for command, place in zip(commands, places, strict=True)}


def _check_unit(number: int, command: FeatureColumns, place: _Placed) -> None:
    if command.unit and place.part.unit and command.unit != place.part.unit:
        raise InputError(
            f"action[{number}] is in {command.unit}, its state proprio[{place.number}] ({place.part.feature}) in "
            f"{place.part.unit}; a difference of the two means nothing: bring both to one unit (`scale:`)"
        )
