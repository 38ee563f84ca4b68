"""Datasets of `index` that are not there: refused before Beam is imported."""

from fasttok.common.given_paths import did_you_mean, first_missing
from fasttok.errors import InputError
from pipelines.index.config import IndexConfig


def check_there(config: IndexConfig) -> None:
    """Refuses local datasets that are not there; URLs are looked at when they are read.

    Raises:
        InputError: names the first.
    """
    if (directory := first_missing(config.datasets)) is not None:
        raise no_dataset(directory)


def no_dataset(directory: str) -> InputError:
    """The error for a dataset that is not there."""
    return InputError(
        f"{directory} does not exist{did_you_mean(directory)}; expected an RLDS version folder, a LeRobot "
        "folder, HDF5, npz or parquet files, or a folder with a dataset.yaml"
    )
