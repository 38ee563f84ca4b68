"""Robot recordings of every format with their images, one file a format; `open_recordings` is the way in."""

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.recordings.hdf5 import HdfRecordings
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.recordings import Recordings, Section
from pipelines.recordings.rlds import RldsRecordings
from pipelines.recordings.tables import TableRecordings

__all__ = ["Recordings", "Section", "open_recordings"]


def open_recordings(directory: str, entry: DatasetEntry, through: str = "", version: str = "") -> Recordings:
    """A dataset of robot episodes.

    Args:
        directory: path or URL.
        entry: says the format.
        through: why RLDS is read through TFDS, "" for the raw reader.
        version: of the files that describe it, if somebody looked already; saves requests.

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
