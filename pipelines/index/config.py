"""What `fasttok-pipelines index` can be asked."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class IndexConfig:
    """Indexes RLDS data, questions and captions: a row per episode or record, standardised actions, dead letters, statistics.

    Example: fasttok-pipelines index bridge_dataset/1.0.0 my_vqa --out INDEX --max-bad 0.1%

    Beam gets the flags that are not known here, such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    datasets: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DATASET [DATASET ...]", help_behavior_hint="(required)"),
    ]
    """Dataset directories: TFDS version folders, or folders with a dataset.yaml that says what is in them; any fsspec URL."""
    out: str
    """The INDEX folder; any fsspec URL. An unfinished one is continued."""
    entries: tuple[str, ...] = ()
    """Entry YAML files, or folders of them, that come before the packaged ones."""
    splits: tuple[str, ...] = ()
    """Only these splits; all by default."""
    control_hz: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=HZ ...]")] = ()
    """NAME=HZ: control frequency of a dataset whose entry leaves it unset."""
    keep_ranges: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=FILE ...]")] = ()
    """NAME=FILE: JSON of the steps to keep per episode, as openpi publishes for droid; other steps are left out and counted."""
    max_record: Annotated[str | None, tyro.conf.arg(metavar="BYTES")] = None
    """Most bytes of a TFRecord record, such as 512M or 2G; a larger one is a dead letter, `size`. 1G unless the entry says."""
    max_bad: Annotated[str, tyro.conf.arg(metavar="PERCENT%|COUNT")] = "100%"
    """Fail if any dataset has more bad records than this, a percentage (0.1%) or a count. Filtered records are not counted."""
    resume: bool = False
    """Go on with an unfinished INDEX; that happens without this flag, too. A finished one stays as it is."""
    overwrite: bool = False
    """Replace a finished INDEX."""
    verify: bool = True
    """Check the checksum of every record."""
    array: Annotated[str | None, tyro.conf.arg(metavar="I/N|finish")] = None
    """I/N: do every N-th job, beside N - 1 other such commands with this OUT (I from 0); then `finish` puts all together."""
    json: bool = False
    """Print the summary as JSON on stdout."""
