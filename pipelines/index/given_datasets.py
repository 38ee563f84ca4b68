"""Checks that the datasets of an `index` command exist, before Beam is imported."""

from fasttok.common.given_paths import did_you_mean, first_missing
from fasttok.errors import InputError
from pipelines.index.config import IndexConfig


def check_there(config: IndexConfig) -> None:
    """Checks that local datasets exist. URLs are checked when they are read.

    Raises:
        InputError: a dataset is missing; the error names the first one.
    """
    if (directory := first_missing(config.datasets)) is not None:
        raise no_dataset(directory)


def no_dataset(directory: str) -> InputError:
    """Returns the error for a dataset that does not exist."""
    return InputError(
        f"{directory} does not exist{did_you_mean(directory)}; expected an RLDS version folder, a LeRobot "
        "folder, HDF5, npz or parquet files, or a folder with a dataset.yaml"
    )
