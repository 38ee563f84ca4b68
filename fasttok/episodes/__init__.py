"""Reads episodes of all formats, with one module per format. Only RLDS that the raw reader does not cover needs TensorFlow.

for ep in open_episodes(path, split="train"):
    ep.steps["action"]          # (T, D), as stored
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from fasttok.common import stores
from fasttok.common.given_paths import no_data
from fasttok.episodes import arrays, formats, hdf5, index, lerobot, lerobot_info, rlds
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.episode import UNREADABLE, BadEpisodeError, BadRecord, Episode, Where, as_float, episode_of
from fasttok.errors import InputError

__all__ = [
    "MOST_NAMED",
    "BadEpisodeError",
    "BadRecord",
    "Episode",
    "Episodes",
    "Where",
    "as_float",
    "episode_of",
    "open_episodes",
]

MOST_NAMED = 100


@dataclass
class Episodes:
    """An iterable of Episode that can be iterated repeatedly. It counts records that are not episodes, and does not yield them.

    Attributes:
        name: name of the dataset.
        count: number of records, None if only reading them shows it.
        records: function that reads the records from the beginning.
        bad: reason -> number of bad records, after (or during) an iteration.
        first_bad: the first bad record, None if there is none.
        skip_bad: whether files that cannot be read are counted too; otherwise the first one ends the iteration with an error.
        named: the first `MOST_NAMED` bad records.
        folder: path or URL of the dataset. Its episodes get it; those of an INDEX have the folders of their own datasets.
    """

    name: str
    count: int | None
    records: Callable[[], Iterator[Episode | BadRecord]]
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: BadRecord | None = None
    skip_bad: bool = False
    named: list[BadRecord] = field(default_factory=list)
    folder: str = ""

    def __iter__(self) -> Iterator[Episode]:
        self.bad.clear()
        self.named.clear()
        self.first_bad = None
        for record in self.records():
            if isinstance(record, BadRecord):
                if record.reason == UNREADABLE and not self.skip_bad:
                    raise InputError(
                        f"{record}; fetch or repair the file, or leave such files out and have them counted: --skip-bad"
                    )
                if len(self.named) < MOST_NAMED:
                    self.named.append(record)
                self.bad[record.reason] += record.records
                self.first_bad = self.first_bad or record
            else:
                yield record if record.folder else replace(record, folder=self.folder)


def open_episodes(path: str, split: str = "train", skip_bad: bool = False) -> Episodes:
    """Opens the episodes of an INDEX, an RLDS directory, a LeRobot folder, or HDF5, npz, npy or parquet files.

    It finds out the format from the files.

    Args:
        path: path or URL of the data.
        split: split of the data.
        skip_bad: see `Episodes`.

    Raises:
        InputError: the path does not exist, there is no such split, or the format is not known.
    """
    path = str(path).rstrip("/")
    if path.rsplit("/", 1)[-1] in (".", ".."):
        path = stores.own_path(path)
    return replace(_open(path, split), skip_bad=skip_bad, folder=path)


def _open(path: str, split: str) -> Episodes:
    filesystem, root = stores.fresh(path)
    if not stores.kind_at(filesystem, root):
        raise no_data(path)
    if stores.kind_at(filesystem, f"{root}/{index.FILE}") == "file":
        return Episodes(path, index.count(path, split), lambda: index.read(path, split))
    found = formats.format_of(path)
    if found == "rlds":
        directory = rlds.open_directory(path)
        files = rlds.files_of(directory, split)

        def read() -> Iterator[Episode | BadRecord]:
            for file in files:
                for record in directory.read_file(file):
                    if isinstance(record, Episode):
                        record.metadata.setdefault("dataset", directory.name)
                    elif record.reason == "missing" and record.where.offset < 0:
                        record = replace(record, reason=UNREADABLE)  # the whole file
                    yield record

        return Episodes(directory.name, sum(directory.declared[file] for file in files), read)
    if found == "lerobot":
        info = lerobot_info.open_info(path)
        name = dataset_name(path)
        return Episodes(name, lerobot_info.count(info, split), lambda: lerobot.read(path, info, split))
    if found == "hdf5":
        files = hdf5.files_below(path)
        name = dataset_name(path)
        return Episodes(name, None, functools.partial(hdf5.read, path, files, name, split))
    suffix, files = formats.tables(path)
    if files:  # also Parquet files without an episode column: their reader says which columns it expects
        if split != "train":
            raise InputError(f"{path} has no split {split!r}; all episodes of npz, npy and Parquet files are train")
        formats.warn_of_other_tables(path, suffix)
        name = dataset_name(path)
        return Episodes(name, None, functools.partial(arrays.READERS[suffix], files, name))
    lerobot_info.refuse_folder_of(path)
    raise InputError(
        f"cannot tell what {path} contains: no index.json (an INDEX), no features.json + dataset_info.json (RLDS: give the "
        "version folder, such as bridge_dataset/1.0.0), no meta/info.json (LeRobot), no .npz, .npy, .parquet or .hdf5 files"
    )
