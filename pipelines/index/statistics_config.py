"""The command line of `statistics`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.action_forms import ActionForm, RotationForm
from fasttok.common.maybe import Maybe

SPLIT = "train"


@dataclass(frozen=True)
class StatisticsConfig:
    """Prints exact mean, std, min, max and quantiles of actions and states, per embodiment (robot and action space).

    Example: fasttok-pipelines statistics INDEX --seconds 1.0 --form relative --rotation 6d

    By default each step counts once, as it is stored. With --horizon, --seconds, --form or --rotation, actions count in chunks,
    as they are tokenised.
    """

    index: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INDEX")]
    """INDEX folder that `fasttok-pipelines index` wrote."""
    split: str = SPLIT
    """Split whose episodes are counted. Of a dataset that has no such split, all episodes are counted."""
    horizon: Maybe[int] = None
    """Count actions in chunks of this many steps.
    A chunk begins at every step; past the end of the episode it is padded, as for tokens."""
    seconds: Maybe[float] = None
    """Count actions in chunks of this many seconds. It has no effect if --horizon is given.
    With --form or --rotation alone, chunks last 1 second."""
    form: ActionForm = "stored"
    """Form of the actions in a chunk; a mixture's `action:` takes the same words (docs/datasets.md).
    `stored`: as the dataset has them.
    `relative`: difference from the state at the chunk's first step.
    `delta`: difference from the step before."""
    rotation: RotationForm = "stored"
    """How the actions in a chunk describe rotations.
    `stored`: as the dataset has them.
    `euler`: roll, pitch and yaw.
    `quaternion`: x, y, z and w.
    `6d`: the first two columns of the rotation matrix."""
    out: Maybe[str] = None
    """Also write the statistics to this file, as JSON."""
    overwrite: bool = False
    """Replace the --out file if it exists."""
    json: bool = False
    """Print JSON on stdout."""
