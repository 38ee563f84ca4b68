"""Which format a dataset's files have. `open_episodes`, the pipelines and the doctor all ask here, so that they agree."""

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

OWN_ENTRY = "dataset.yaml"  # the entry that is beside the data
DEEPEST, MOST_SEEN = 5, 20_000  # folders within folders, and names, in which HDF5 is looked for


def format_of(path: str) -> RecordingFormat | None:
    """The format that the files at a path show, None if it is none that is known.

    Tables in a folder itself decide before HDF5 in folders within it.
    """
    return next((name for name, shows in SIGNS.items() if shows(path)), None)


def tables(path: str) -> tuple[str, list[str]]:
    """The suffix of a folder's tables (or of the one file), and the files that have it; "" and none if there are none."""
    fs, root = stores.filesystem(path)
    if not stores.kind_at(fs, root):
        return "", []
    return next(((suffix, found) for suffix in arrays.READERS if (found := arrays.files(path, suffix))), ("", []))


def is_tables(path: str) -> bool:
    """Whether a path is a table or a folder of them; of Parquet files one column must number the episodes."""
    suffix, files = tables(path)
    if suffix != ".parquet":
        return bool(files)
    try:
        with stores.open_file(files[0]) as stream:
            return bool(set(EPISODE_COLUMNS) & set(pq.read_schema(stream).names))
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        return False


def is_hdf5(path: str) -> bool:
    """Whether a path is an HDF5 file, or a folder that has one somewhere; the search ends with the first.

    A folder with an entry that are not in it directly counts only if the entry says so, for it may hold a million images.
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
