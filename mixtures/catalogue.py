"""What is published about the size of datasets, for `explain` when there is no INDEX. Estimates, and said to be."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from fasttok.common.json_files import decode
from fasttok.common.kinds import RecordKind

FILE = Path(__file__).parent / "catalogue.yaml"


@dataclass(frozen=True)
class PublishedSizes:
    """What is published of a dataset; None for what is not.

    Attributes:
        kind: robot, vqa or caption.
        episodes: episodes of the training split.
        frames: steps of a robot dataset, records of the others.
        frames_from: who published the frames (catalogue.yaml says which name means whom).
        hz: control frequency.
        action_dim: dims of an action.
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
    """Dataset -> what is published of it.

    >>> catalogue()["bridge"].episodes
    25460
    """
    lines = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: decode(PublishedSizes, line, f"{FILE}: {name}") for name, line in lines.items()}
