"""Opens a dataset of any recording format for `check`: its name, its splits, and a way to read some episodes of each split."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from fasttok.common import stores
from fasttok.episodes import BadRecord, Episode, Where, formats, open_episodes, rlds, tfrecord
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.dataset_name import dataset_name
from fasttok.errors import InputError
from pipelines.check.spread import spread
from pipelines.recordings.hdf5 import HdfRecordings
from pipelines.recordings.lerobot import LerobotRecordings
from pipelines.recordings.recordings import Recordings, Section

MOST_READ = 20_000  # episodes of a split, about


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset that `check` can read.

    Attributes:
        path: path or URL, as the user gave it.
        name: name by which its entry is found.
        form: name of its format, such as RLDS.
        splits: names of its splits.
        files: split -> RLDS files, which are read one by one.
        directory: the RLDS directory, None for other formats.
        recordings: a LeRobot folder or HDF5 with its cameras, None for other formats.
        sections: split -> sections of the recordings.
    """

    path: str
    name: str
    form: str
    splits: tuple[str, ...]
    files: dict[str, list[str]] = field(default_factory=dict)
    directory: rlds.RldsDirectory | None = None
    recordings: Recordings | None = None
    sections: dict[str, list[Section]] = field(default_factory=dict)

    @property
    def cameras_known(self) -> bool:
        """Whether episodes come with all cameras that the dataset has."""
        return self.directory is not None or self.recordings is not None

    @property
    def pictures_inside(self) -> bool:
        """Whether reading an episode reads its pictures too."""
        return self.directory is not None

    def count(self, split: str) -> int | None:
        """Returns the number of episodes that the files declare for a split, None if they declare none."""
        if self.directory is not None:
            return sum(self.directory.declared.get(file, 0) for file in self.files[split])
        if self.recordings is not None:
            counts = [section.count for section in self.sections.get(split, [])]
            return None if None in counts else sum(count for count in counts if count)
        return open_episodes(self.path, split).count

    def _some_sections(self, split: str) -> list[Section]:
        """Returns the sections of a split; of a very large split, evenly spread ones with about `MOST_READ` episodes."""
        sections, total = self.sections.get(split, []), self.count(split)
        if total is None or total <= MOST_READ:
            return sections
        chosen = spread(len(sections), max(1, len(sections) * MOST_READ // total))
        return [sections[i] for i in chosen]

    def read(self, split: str, limit: int | None = None) -> Iterator[Episode | BadRecord]:
        """Yields the episodes of a split.

        A `limit` yields about so many: in RLDS spread over the files, in tables the first ones. LeRobot and HDF5 ignore it.
        """
        if self.recordings is not None:
            for section in self._some_sections(split):
                yield from self.recordings.read(section, True)
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
                yield from _lost(file, declared, file not in chosen)


def open_dataset(path: str) -> OpenedDataset:
    """Opens a dataset and finds out its format.

    Raises:
        InputError: nothing is there, the format is unknown, or the folder has several versions.
    """
    path = str(path).rstrip("/")
    if not stores.kind_at(*stores.fresh(path)):
        open_episodes(path)  # raises an error: nothing is there
    path = _version_folder(path)
    found = formats.format_of(path)
    if found == "rlds":
        directory = rlds.open_directory(path)
        return OpenedDataset(path, directory.name, "RLDS", tuple(directory.splits), directory.splits, directory)
    if found == "lerobot":
        recordings = LerobotRecordings(path)
        version = recordings.folder.info.codebase_version
        return _of_recordings(path, f"LeRobot {version}", recordings)
    if found == "hdf5":
        return _of_recordings(path, "HDF5", HdfRecordings(path, dataset_name(path)))
    episodes = open_episodes(path)  # raises an error if the format is unknown
    kind = formats.tables(path)[0].removeprefix(".") or "INDEX"
    return OpenedDataset(path, episodes.name, kind, ("train",))


def by_entry(dataset: OpenedDataset, entry: DatasetEntry | None) -> OpenedDataset:
    """Returns the dataset as its entry says. This matters for HDF5, whose episodes and splits an entry may have to name.

    Raises:
        InputError: nothing is there, or a split that the entry names has no files.
    """
    if entry is None or dataset.form != "HDF5" or (entry.hdf5 is None and not entry.splits):
        return dataset
    return _of_recordings(dataset.path, "HDF5", HdfRecordings(dataset.path, dataset.name, entry.hdf5, entry.splits))


def _of_recordings(path: str, form: str, recordings: Recordings) -> OpenedDataset:
    sections = recordings.sections()
    return OpenedDataset(
        path, recordings.name, form, tuple(sections) or ("train",), recordings=recordings, sections=sections
    )


def _lost(file: str, declared: int, unread: bool) -> Iterator[BadRecord]:
    """Yields a bad record for the records that a local file declares but lacks, counted by their frame headers.

    Args:
        file: a file of the dataset.
        declared: number of records that it should contain.
        unread: whether the reader does not read this file. If it does, the reader itself reports a missing file.
    """
    if "://" in file:
        return
    try:
        found = sum(1 for _ in tfrecord.frame_words(file)) - 1
    except FileNotFoundError:
        if unread and declared:
            said = f"{file} is not there; dataset_info.json says {declared} records"
            yield BadRecord(Where(file), "missing", said, declared)
        return
    except OSError:
        return  # the reader reports it, if it reads the file
    if found < declared:
        detail = f"dataset_info.json says {declared} records, there are {found}"
        yield BadRecord(Where(file, number=found), "missing", detail, declared - found)


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _version_folder(path: str) -> str:
    """Returns the only version folder of a TFDS dataset if `path` is the folder around it, else `path`."""
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
