"""What the doctor finds: how bad it is, where it is first seen, and what to write or do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class FoundAt:
    """Where something is seen first, or at its worst.

    Attributes:
        file: path or URL; "" for the dataset as a whole.
        episode: the episode's number in its file; LeRobot's own number.
        step: counted from 0.
        dim: the feature and its column, or the camera.
        split: of the dataset.
    """

    file: str = ""
    episode: int | None = None
    step: int | None = None
    dim: str = ""
    split: str = ""

    def __str__(self) -> str:
        episode = "" if self.episode is None else f"episode {self.episode}"
        step = "" if self.step is None else f"step {self.step}"
        return ", ".join(word for word in (self.file, episode, step, self.dim) if word) or "the dataset"


@dataclass(frozen=True, eq=False)
class Curves:
    """Numbers along an episode, for the page.

    Attributes:
        title: of the drawing.
        lines: what is drawn, by its name: (T,) each.
        mark: first and last step of the place.
        y_label: what the lines show, with its unit.
    """

    title: str
    lines: dict[str, NDArray[Any]]
    mark: tuple[int, int] | None = None
    y_label: str = "value (raw units)"


@dataclass(frozen=True, eq=False)
class Pictures:
    """Camera pictures for the page.

    Attributes:
        images: (height, width, 3) uint8, by what they are.
    """

    images: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class DatasetFinding:
    """Something wrong with a dataset, or worth knowing.

    Attributes:
        severity: an error makes training wrong or impossible, a warning probably harms it, a note is worth knowing.
        check: name of the check, for scripts.
        place: where it is seen first, or at its worst.
        what: what is there, in words.
        todo: what to do about it, in words.
        entry: lines for the dataset's entry, "" if there is nothing to write.
        count: how many episodes (or files, steps, dims: `what` says it) are like this.
        drawings: for the page.
    """

    severity: Severity
    check: str
    place: FoundAt
    what: str
    todo: str
    entry: str = ""
    count: int = 1
    drawings: tuple[Curves | Pictures, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        write = f"\n    write: {self.entry}" if self.entry else ""
        return f"{self.severity}: {self.place}: {self.what} [{self.check}]\n    next: {self.todo}{write}"


def ordered(findings: Sequence[DatasetFinding]) -> list[DatasetFinding]:
    """The worst first; findings of one severity stay in the order of the checks."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def few(words: Sequence[object], most: int = 6) -> str:
    """The first of a list, and how many more there are.

    >>> few([1, 2, 3], most=2)
    '1, 2 and 1 more'
    """
    shown = ", ".join(map(str, words[:most]))
    return shown + (f" and {len(words) - most} more" if len(words) > most else "")
