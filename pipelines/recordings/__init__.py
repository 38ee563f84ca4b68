"""Robot recordings of every format with their images, one file a format; `open_recordings` is the way in."""

from collections.abc import Callable

from fasttok.episodes.dataset_entry import DatasetEntry, RecordingFormat
from fasttok.episodes.lerobot_info import is_lerobot
from fasttok.episodes.rlds import is_rlds
from pipelines.recordings.hdf5 import HdfRecordings, is_hdf5
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.recordings import Recordings, Section
from pipelines.recordings.rlds import RldsRecordings
from pipelines.recordings.tables import TableRecordings, is_tables

__all__ = ["Recordings", "Section", "format_of", "open_recordings"]

SIGNS: dict[RecordingFormat, Callable[[str], bool]] = {
    "rlds": is_rlds,
    "lerobot": is_lerobot,
    "hdf5": is_hdf5,
    "tables": is_tables,
}


def format_of(directory: str) -> RecordingFormat | None:
    """The format that a directory's files show, None if it is none that is known."""
    return next((name for name, shows in SIGNS.items() if shows(directory)), None)


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
