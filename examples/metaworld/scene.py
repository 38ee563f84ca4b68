"""The visible part of what the simulator knows about one moment. Questions and captions are made from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 10  # number of columns, and of rows, into which answers divide a picture
NAMED_COLOURS = {
    "red": (0.75, 0.05, 0.05), "green": (0.1, 0.7, 0.15), "blue": (0.05, 0.15, 0.7), "yellow": (0.75, 0.55, 0.05),
    "orange": (0.75, 0.4, 0.05), "brown": (0.4, 0.25, 0.12), "black": (0.15, 0.15, 0.15), "grey": (0.45, 0.45, 0.45),
    "white": (0.88, 0.88, 0.88),
}  # fmt: skip
GREY_BELOW = 0.2  # a colour is grey, black or white if its channels differ by less than this share of the largest

Place = tuple[float, float]  # column from the left and row from the top, as shares of the picture


@dataclass(frozen=True)
class SeenThing:
    """A thing in the picture.

    Attributes:
        noun: name of the thing, without a colour.
        colour: its colour in one word.
        place: its centre in the picture of the primary camera; None if that is outside.
    """

    noun: str
    colour: str
    place: Place | None

    def __str__(self) -> str:
        return self.noun if self.noun.startswith((self.colour, "brick", "wooden")) else f"{self.colour} {self.noun}"


@dataclass(frozen=True)
class Scene:
    """One moment of an episode.

    Attributes:
        task: name of the task in `tasks.TASKS`.
        things: the things in the task's order; the first is what the task is about.
        hand: place of the fingertips in the picture; None if that is outside.
        opening: opening of the gripper, from 0 (closed) to 1 (open).
    """

    task: str
    things: tuple[SeenThing, ...]
    hand: Place | None
    opening: float


def cell(place: Place) -> str:
    """Formats a place as a column from the left and a row from the top, each 0 to 9.

    >>> cell((0.31, 0.98))
    '3 9'
    """
    column, row = (min(int(GRID * share), GRID - 1) for share in place)
    return f"{column} {row}"


def colour_word(rgb: NDArray) -> str:
    """Returns the name of a colour.

    Args:
        rgb: (3,) in [0, 1].

    >>> colour_word(np.array([0.4, 0.65, 0.4])), colour_word(np.array([0.3, 0.32, 0.35]))
    ('green', 'grey')
    """
    rgb = np.asarray(rgb, float)[:3]
    greys = ("black", "grey", "white")
    without = np.ptp(rgb) < GREY_BELOW * rgb.max()
    chosen = {name: value for name, value in NAMED_COLOURS.items() if (name in greys) == without}
    shown = rgb if without else rgb / rgb.max()  # for a colour only the hue counts, not the brightness
    far = {
        name: np.linalg.norm(shown - (np.array(v) if without else np.array(v) / max(v))) for name, v in chosen.items()
    }
    return min(far, key=lambda name: far[name])
