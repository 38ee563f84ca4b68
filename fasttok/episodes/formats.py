"""Finds out which format a dataset's files have. `open_episodes`, the pipelines and the doctor all use it, so that they agree."""

import logging
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.episodes import arrays
from fasttok.episodes.dataset_entry import RecordingFormat
from fasttok.episodes.hdf5_layout import SUFFIXES as HDF5_SUFFIXES
from fasttok.episodes.lerobot_info import is_lerobot
from fasttok.episodes.order import EPISODE_COLUMNS
from fasttok.episodes.rlds import is_rlds

logger = logging.getLogger(__name__)
OWN_ENTRY = "dataset.yaml"  # the entry that is beside the data
DEEPEST, MOST_SEEN = 5, 20_000  # levels of folders, and number of names, that are searched for HDF5 files


def format_of(path: str) -> RecordingFormat | None:
    """Returns the format of the files at a path, None if it is not a known one.

    Tables in the folder itself count before HDF5 files in folders below it.
    """
    return next((name for name, shows in SIGNS.items() if shows(path)), None)


def tables(path: str) -> tuple[str, list[str]]:
    """Returns the suffix of a folder's tables (or of a single file) and the files that have it; ("", []) without tables."""
    fs, root = stores.filesystem(path)
    if not stores.kind_at(fs, root):
        return "", []
    return next(((suffix, found) for suffix in arrays.READERS if (found := arrays.files(path, suffix))), ("", []))


def warn_of_other_tables(path: str, suffix: str) -> None:
    """Warns of tables in a folder that are of another kind than those with this suffix: nobody reads them."""
    for other in arrays.READERS:
        if other != suffix and (found := arrays.files(path, other)):
            logger.warning(
                "%s has %s files, which are read, and %d %s files, which are not, such as %s; move one kind to another folder",
                path, suffix, len(found), other, found[0],
            )  # fmt: skip


def is_tables(path: str) -> bool:
    """Returns whether a path is a table or a folder of tables. Parquet files must have a column that numbers the episodes."""
    suffix, files = tables(path)
    if suffix != ".parquet":
        return bool(files)
    try:
        with stores.open_file(files[0]) as stream:
            return bool(set(EPISODE_COLUMNS) & set(pq.read_schema(stream).names))
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        return False


def is_hdf5(path: str) -> bool:
    """Returns whether a path is an HDF5 file, or a folder that has one at some level. The search ends at the first one.

    If a folder contains an entry, but no HDF5 file directly, only the entry decides, because the folder may contain a million
    images.
    """
    fs, root = stores.filesystem(path)
    if stores.kind_at(fs, root) == "file":
        return root.endswith(HDF5_SUFFIXES)
    if not stores.kind_at(fs, root):
        return False
    seen = 0
    for number, (_, _, names) in enumerate(fs.walk(root, maxdepth=DEEPEST)):
        if any(name.endswith(HDF5_SUFFIXES) and not name.startswith(".") for name in names):
            return not number or not is_tables(path)
        if not number and OWN_ENTRY in names:
            return b"hdf5" in fs.cat_file(f"{root}/{OWN_ENTRY}")
        seen += len(names) + 1
        if seen > MOST_SEEN:
            break
    return False


SIGNS: dict[RecordingFormat, Callable[[str], bool]] = {
    "rlds": is_rlds,
    "lerobot": is_lerobot,
    "hdf5": is_hdf5,
    "tables": is_tables,
}
