"""Published sizes of datasets, which `explain` uses if there is no INDEX. They are estimates, and its output says so."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from fasttok.common.json_files import decode
from fasttok.common.kinds import RecordKind

FILE = Path(__file__).parent / "catalogue.yaml"


@dataclass(frozen=True)
class PublishedSizes:
    """Published sizes of a dataset; None for a size that is not published.

    Attributes:
        kind: robot, vqa or caption.
        episodes: episodes of the training split.
        frames: steps of a robot dataset, records of the others.
        frames_from: who published the frames (catalogue.yaml explains the names).
        hz: control frequency in Hz.
        action_dim: number of dims of an action.
        gib: stored size in GiB.
    """

    kind: RecordKind
    episodes: int | None = None
    frames: int | None = None
    frames_from: str | None = None
    hz: int | float | None = None
    action_dim: int | None = None
    gib: int | float | None = None


@cache
def catalogue() -> dict[str, PublishedSizes]:
    """Returns dataset -> its published sizes.

    >>> catalogue()["bridge"].episodes
    25460
    """
    lines = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: decode(PublishedSizes, line, f"{FILE}: {name}") for name, line in lines.items()}
