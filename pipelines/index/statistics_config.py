"""What `fasttok-pipelines statistics` can be asked."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class StatisticsConfig:
    """Exact count, mean, std, min, max and quantiles per embodiment: of each step as stored, or of chunks as they are tokenised.

    Example: fasttok-pipelines statistics INDEX --seconds 1.0 --form relative --rotation 6d
    """

    index: Annotated[str, tyro.conf.Positional]
    """INDEX of `fasttok-pipelines index`."""
    split: str = "train"
    """Split whose episodes count."""
    horizon: int | None = None
    """Of chunks of so many steps, one from each step, padded past the end as tokens are; each step once by default."""
    seconds: float | None = None
    """The same by time."""
    form: Literal["stored", "relative", "delta"] = "stored"
    """Of chunks in the form that a mixture's `action:` may ask for (docs/datasets.md)."""
    rotation: Literal["stored", "euler", "quaternion", "6d"] = "stored"
    """With rotations of this kind."""
    out: str | None = None
    """Write them here as JSON."""
    json: bool = False
    """Print JSON on stdout."""
