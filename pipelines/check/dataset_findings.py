"""Findings of `check`: how bad something is, where it is first seen, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class FoundAt:
    """Place at which something is seen first, or at its worst.

    Attributes:
        file: path or URL; "" for the dataset as a whole.
        episode: number of the episode in its file (in LeRobot its own number); None for no episode.
        step: step, counted from 0; None for no step.
        dim: feature and column, or camera; "" for none.
        split: split of the dataset; "" for none.
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
    """Numbers along an episode, drawn on the page.

    Attributes:
        title: title of the drawing.
        lines: name -> values (T,) of each line.
        mark: first and last step of the place to tint; None for no place.
        y_label: what the lines show, with its unit.
    """

    title: str
    lines: dict[str, NDArray[Any]]
    mark: tuple[int, int] | None = None
    y_label: str = "value (raw units)"


@dataclass(frozen=True, eq=False)
class Pictures:
    """Camera pictures, shown on the page.

    Attributes:
        images: caption -> picture, (height, width, 3) uint8.
    """

    images: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class DatasetFinding:
    """Something wrong with a dataset, or worth knowing.

    Attributes:
        severity: an error makes training wrong or impossible, a warning probably harms it, a note is worth knowing.
        check: name of the check, for scripts.
        place: where it is seen first, or at its worst.
        what: what was found, in words.
        todo: what to do about it, in words.
        entry: lines for the dataset's entry, "" if there is nothing to write.
        count: number of episodes that are like this, or of files, steps or dims if `what` says so.
        drawings: drawings for the page.
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
    """Sorts findings by severity, the worst first. Findings of the same severity stay in the order of the checks."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def few(words: Sequence[object], most: int = 6) -> str:
    """Writes the first items of a list, and how many more there are.

    >>> few([1, 2, 3], most=2)
    '1, 2 and 1 more'
    """
    shown = ", ".join(map(str, words[:most]))
    return shown + (f" and {len(words) - most} more" if len(words) > most else "")
