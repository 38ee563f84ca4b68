"""Reads robot recordings of every format with their images, one module per format; begin with `open_recordings`."""

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.recordings.hdf5 import HdfRecordings
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.recordings import Recordings, Section
from pipelines.recordings.rlds import RldsRecordings
from pipelines.recordings.tables import TableRecordings

__all__ = ["Recordings", "Section", "open_recordings"]


def open_recordings(directory: str, entry: DatasetEntry, through: str = "", version: str = "") -> Recordings:
    """Opens a dataset of robot episodes.

    Args:
        directory: path or URL of the dataset.
        entry: entry of the dataset, which says the format.
        through: why RLDS is read through TFDS, "" for the raw reader.
        version: version of the files that describe the dataset, if it is known already, which saves requests; "" to look it up.

    Raises:
        InputError: the files that describe the dataset are missing or damaged.
    """
    if entry.recording_format == "lerobot":
        return LerobotRecordings(directory, version, entry.guesses)
    if entry.recording_format == "hdf5":
        return HdfRecordings(directory, entry.name, entry.hdf5, entry.splits)
    if entry.recording_format == "tables":
        return TableRecordings(directory)
    return RldsRecordings(directory, through, entry.max_record, version)
