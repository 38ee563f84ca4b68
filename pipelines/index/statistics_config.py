"""What `fasttok-pipelines statistics` can be asked."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.action_forms import ActionForm, RotationForm


@dataclass(frozen=True)
class StatisticsConfig:
    """Exact count, mean, std, min, max and quantiles per embodiment: of each step as stored, or of chunks as they are tokenised.

    Example: fasttok-pipelines statistics INDEX --seconds 1.0 --form relative --rotation 6d
    """

    index: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INDEX")]
    """INDEX of `fasttok-pipelines index`."""
    split: str = "train"
    """Split whose episodes count."""
    horizon: int | None = None
    """Count chunks of so many steps, one from each step, padded past the end as tokens are; by default each step counts once."""
    seconds: float | None = None
    """The same, with the chunk length in seconds."""
    form: ActionForm = "stored"
    """Count chunks in this form, one that a mixture's `action:` may ask for (docs/datasets.md)."""
    rotation: RotationForm = "stored"
    """Write their rotations in this way."""
    out: str | None = None
    """Also write the statistics to this file, as JSON."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON on stdout."""
