"""The command line of `index`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.flags import OPTIONAL, optional


@dataclass(frozen=True)
class IndexConfig:
    """Reads datasets once and writes an INDEX: a row per episode or record, standardised actions, and statistics.

    Example: fasttok-pipelines index bridge_dataset/1.0.0 my_vqa --out INDEX --max-bad 0.1%

    It reads robot recordings (RLDS, LeRobot, HDF5, npz, npy and Parquet), questions and captions. A record that cannot be used
    becomes a dead letter: a row in the INDEX with its file, place and reason.

    Flags that are not listed here go to Apache Beam, which runs the jobs. Write them as --flag=value,
    such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    datasets: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DATASET [DATASET ...]", help_behavior_hint="(required)"),
    ]
    """Datasets to index: TFDS version folders, LeRobot folders, HDF5, npz, npy or Parquet files or folders.
    Folders of questions or captions need an entry that says what they contain, such as a dataset.yaml in the folder.
    Each dataset can be a local path or an fsspec URL."""
    out: str
    """INDEX folder to write: a local path or an fsspec URL. An unfinished INDEX is continued."""
    entries: Annotated[tuple[str, ...], OPTIONAL] = ()
    """YAML files of dataset entries, or folders of them. An entry says what a dataset's features mean.
    These are used before DATASET/dataset.yaml and the packaged entries."""
    splits: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Splits to index. By default all."""
    control_hz: Annotated[tuple[str, ...], optional("[NAME=HZ ...]")] = ()
    """NAME=HZ: control frequency in Hz of the dataset NAME.
    Use it when the dataset's entry does not give one. If the entry gives one, this replaces it."""
    keep_ranges: Annotated[tuple[str, ...], optional("[NAME=FILE ...]")] = ()
    """NAME=FILE: JSON file that lists the steps to keep in each episode of the dataset NAME, as openpi publishes for DROID.
    Other steps, and episodes that the file does not name, are left out and counted."""
    max_record: Annotated[str | None, optional("BYTES")] = None
    """Largest record of a TFRecord file that is read, in bytes, or with K, M or G: 512M, 2G.
    A larger record becomes a dead letter with the reason `size`. By default as the entry says, or else 1G."""
    max_bad: Annotated[str, tyro.conf.arg(metavar="PERCENT%|COUNT")] = "100%"
    """Fail if a dataset has more dead letters than this: a percentage of its records, such as 0.1%, or a count.
    Records that an entry's filters leave out do not count. With 100%, `index` never fails for this reason."""
    resume: bool = False
    """Accept a finished INDEX of the same datasets in OUT, and leave it as it is. Otherwise that is an error.
    An unfinished INDEX is continued in either case."""
    overwrite: bool = False
    """Replace a finished INDEX in OUT."""
    verify: bool = True
    """Check the checksum of every record in RLDS files. Other formats are not affected."""
    array: Annotated[str | None, optional("I/N|finish")] = None
    """Share the work between N commands with the same OUT. Use it when a scheduler such as SLURM starts them (docs/scale.md).
    I/N: do every N-th job, from job I on. Run one command for each I from 0 to N - 1.
    `finish`: when these have ended, do the jobs that are missing and put all parts together."""
    json: bool = False
    """Print the summary as JSON on stdout."""
