"""A dataset in whatever format, opened for the doctor: its name, splits, and a way to read some episodes of each."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from fasttok.common import stores
from fasttok.episodes import BadRecord, Episode, Where, arrays, hdf5, lerobot_info, open_episodes, rlds, tfrecord
from fasttok.episodes.hdf5_file import FAULTS, opened
from fasttok.episodes.hdf5_layout import TRAIN, contents, folder_split
from fasttok.errors import InputError
from pipelines.check.spread import spread
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.recordings import Recordings

MOST_OPENED = 500  # HDF5 files whose splits are looked up


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset.

    Attributes:
        path: as given.
        name: by which its entry is found.
        form: its format.
        splits: their names.
        files: split -> RLDS files, which are read one by one.
        directory: the RLDS directory, None for other formats.
        recordings: a LeRobot folder with its cameras, None for other formats.
    """

    path: str
    name: str
    form: str
    splits: tuple[str, ...]
    files: dict[str, list[str]] = field(default_factory=dict)
    directory: rlds.RldsDirectory | None = None
    recordings: Recordings | None = None

    @property
    def cameras_known(self) -> bool:
        """Whether episodes come with all cameras that the dataset has."""
        return self.directory is not None or self.recordings is not None or self.form == "HDF5"

    @property
    def pictures_inside(self) -> bool:
        """Whether reading an episode reads its pictures too."""
        return self.directory is not None

    def count(self, split: str) -> int | None:
        """Number of episodes that are declared, None if nothing says it."""
        if self.directory is not None:
            return sum(self.directory.declared.get(file, 0) for file in self.files[split])
        return open_episodes(self.path, split).count

    def read(self, split: str, limit: int | None = None) -> Iterator[Episode | BadRecord]:
        """Episodes of a split; if there is a limit, about so many, spread over the files."""
        if self.recordings is not None:
            for part in self.recordings.parts().get(split, []):
                yield from self.recordings.read(part, True)
            return
        if self.directory is None:
            yield from itertools.islice(open_episodes(self.path, split).records(), limit)
            return
        files = self.files[split]
        chosen = files if limit is None else [files[i] for i in spread(len(files), limit)]
        each = None if limit is None else -(-limit // max(1, len(chosen)))
        for file in files:
            declared = self.directory.declared.get(file, 0)
            if file in chosen:
                yield from itertools.islice(self.directory.read_file(file), each)
            if each is not None and (file not in chosen or declared > each):
                yield from _lost(file, declared)


def open_dataset(path: str) -> OpenedDataset:
    """Tells the format from the path.

    Raises:
        InputError: nothing there, or no format that is known.
    """
    path = str(path).rstrip("/")
    path = _version_folder(path)
    if rlds.is_rlds(path):
        directory = rlds.open_directory(path)
        return OpenedDataset(path, directory.name, "RLDS", tuple(directory.splits), directory.splits, directory)
    if lerobot_info.is_lerobot(path):
        recordings = LerobotRecordings(path)
        version = recordings.folder.info.codebase_version
        splits = tuple(recordings.parts()) or ("train",)
        return OpenedDataset(path, recordings.name, f"LeRobot {version}", splits, recordings=recordings)
    episodes = open_episodes(path)  # says what it expects if it is nothing of all that
    files = hdf5.files_below(path)
    if files and (hdf5.lies_in(path, files) or not any(arrays.files(path, suffix) for suffix in (".npz", ".parquet"))):
        return OpenedDataset(path, episodes.name, "HDF5", _hdf5_splits(path, files))
    kind = "npz" if arrays.files(path, ".npz") else "parquet" if arrays.files(path, ".parquet") else "INDEX"
    return OpenedDataset(path, episodes.name, kind, ("train",))


def _lost(file: str, declared: int) -> Iterator[BadRecord]:
    """Records that are declared and not there, counted by their frame headers; only of local files."""
    if "://" in file:
        return
    try:
        found = sum(1 for _ in tfrecord.frame_words(file)) - 1
    except OSError:
        return  # the reader says it, if it reads the file
    if found < declared:
        detail = f"dataset_info.json says {declared} records, there are {found}"
        yield BadRecord(Where(file, number=found), "missing", detail, declared - found)


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _version_folder(path: str) -> str:
    """The only version folder of a TFDS dataset, if the path is the folder around it."""
    filesystem, root = stores.fresh(path)
    if stores.kind_at(filesystem, root) != "directory" or stores.kind_at(filesystem, f"{root}/features.json"):
        return path
    listed = (stores.join_scheme(path, str(entry)) for entry in filesystem.ls(root, detail=False))
    inner = [_last(entry) for entry in listed if rlds.is_rlds(entry)]
    if len(inner) > 1:
        raise InputError(
            f"{path} has several versions: {', '.join(sorted(inner))}; give one, such as {path}/{inner[0]}"
        )
    return f"{path}/{inner[0]}" if inner else path


def _hdf5_splits(path: str, files: list[str]) -> tuple[str, ...]:
    """The splits that folders, masks and robosuite's attributes name."""
    found: dict[str, None] = {}
    for file in files[:MOST_OPENED]:
        own = folder_split(path, file)
        if own is not None:
            found[own] = None
            continue
        try:
            with opened(file) as node:
                found |= dict.fromkeys(contents(node, file).splits)
        except FAULTS:
            continue  # the reader counts it as a reject
    return tuple(found) if TRAIN in found else (TRAIN, *found)
