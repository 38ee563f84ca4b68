"""Reads HDF5 recordings in every layout that `fasttok.episodes.hdf5_layout` knows.

A job reads a file, or a range of the episodes of a large file.
"""

import fnmatch
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from fasttok.common import stores
from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.dataset_entry import HdfPaths
from fasttok.episodes.hdf5_episode import read_demo
from fasttok.episodes.hdf5_file import FAULTS, brief, h5py, kept_open, opened
from fasttok.episodes.hdf5_layout import (
    TRAIN,
    HdfContents,
    contents,
    files_below,
    folder_split,
    is_plain,
)
from fasttok.episodes.lerobot import few
from fasttok.errors import InputError
from pipelines.common.files import file_version, filesystem
from pipelines.recordings.recordings import Section
from pipelines.recordings.split_notes import split_notes

logger = logging.getLogger(__name__)
PART_EPISODES, PART_BYTES = 200, 1 << 30  # maximum for one job


class HdfRecordings:
    """A folder of HDF5 files, or a single file.

    The entry may name splits by patterns of paths. If it does not, a file in a folder that is named like a split belongs to that
    split, and any other file has `train` and a split for each of its masks.
    """

    def __init__(
        self, directory: str, name: str, paths: HdfPaths | None = None, splits: Mapping[str, str] | None = None
    ) -> None:
        """Opens nothing.

        Args:
            directory: path or URL of the folder or file.
            name: name of the dataset.
            paths: where the episodes are in a file, according to the entry; None to find out from the file.
            splits: split -> pattern of paths below the folder (`fits`); None if the entry names no splits.
        """
        self.directory, self.name, self.paths, self.splits = directory.rstrip("/"), name, paths, dict(splits or {})

    def described(self) -> list[str]:
        """Returns []: each file says what it contains."""
        return []

    def sections(self) -> dict[str, list[Section]]:
        """Looks into every file for its episodes and masks. A file that cannot be read becomes a section with one reject.

        It logs which files are in several splits of the entry, or in none.

        Raises:
            InputError: there are no files, or none for a split that the entry names.
        """
        h5py()
        files = files_below(self.directory)
        if not files:
            raise InputError(f"{self.directory} has no .hdf5 or .h5 files, in no folder below it either")
        found: dict[str, list[Section]] = {split: [] for split in self.splits}
        of = {stores.below(self.directory, file): self._chosen(file) for file in files} if self.splits else {}
        for line in split_notes(of, "files", "the entry"):
            logger.warning("%s: %s", self.directory, line)
        for file in files:
            try:
                with opened(file) as stream:
                    inside = contents(stream, file, self.paths)
            except InputError as error:
                logger.warning("%s", error)
                inside = None
            except FAULTS:
                inside = None
            for split in self._splits(file, inside):
                found.setdefault(split, []).extend(self._cut(file, split, inside))
        empty = [split for split in self.splits if not found[split]]
        if empty:
            raise InputError(
                f"{self.directory}: split {empty[0]} has no file {self.splits[empty[0]]}; there are "
                f"{few([stores.below(self.directory, file) for file in files])}. `*` is within one folder, `**/` any folders"
            )
        return {split: sections for split, sections in found.items() if sections}

    def read(self, section: Section, verify: bool) -> Iterator[Episode | BadRecord]:
        """Yields the episodes of a section.

        The first section of a file's split also has the rejects for episodes that the file declares but does not have.
        """
        del verify  # HDF5 checks every checksum that a file has
        h5py()
        try:
            with opened(section.file) as stream:
                inside = contents(stream, section.file, self.paths)
                mask = self._mask(section.file, section.split)
                demos = inside.demos if mask is None else inside.of_split(mask)
                if not section.start:
                    yield from inside.lacking_in(mask)
                for demo in demos[section.start : section.stop]:
                    yield read_demo(stream, section.file, demo, self.name, self.paths)
        except FAULTS as error:
            yield BadRecord(Where(section.file), "hdf5", brief(error))

    def read_at(self, where: Where) -> Episode | BadRecord:
        """Returns the episode with this number; its file stays open for the next one."""
        try:
            inside = self._contents(where.file, file_version(where.file))
            demo = next((demo for demo in inside.demos if demo.number == where.number), None)
            if demo is None:
                return BadRecord(where, "changed", "the file has no such episode any more; run the index job again")
            return read_demo(kept_open(where.file), where.file, demo, self.name, self.paths)
        except FAULTS as error:
            return BadRecord(where, "hdf5", brief(error))

    def _contents(self, file: str, version: str) -> HdfContents:
        return _contents(file, version, self.paths)

    def _splits(self, file: str, inside: HdfContents | None) -> list[str]:
        """Returns the splits of the episodes in a file."""
        if self.splits:
            return self._chosen(file)
        own = folder_split(self.directory, file)
        if own is not None:
            return [own]
        masks = sorted(inside.splits) if inside is not None else []
        if masks and TRAIN not in masks:
            logger.warning(
                "%s has masks, but none is called train: train is every episode, also those of %s", file, masks
            )
        for odd in [mask for mask in masks if not is_plain(mask)]:
            logger.warning("%s: mask/%s is left out: it is no plain name for a split", file, odd)
        return list(dict.fromkeys([TRAIN, *(mask for mask in masks if is_plain(mask))]))

    def _chosen(self, file: str) -> list[str]:
        """Returns the splits of the entry whose pattern fits a file."""
        path = stores.below(self.directory, file)
        return [split for split, pattern in self.splits.items() if fits(path, pattern)]

    def _mask(self, file: str, split: str) -> str | None:
        """Returns the mask that chooses the episodes of a split, None if all episodes of the file belong to the split."""
        return None if self.splits or folder_split(self.directory, file) is not None else split

    def _cut(self, file: str, split: str, inside: HdfContents | None) -> list[Section]:
        """Cuts the episodes of a split in a file into sections of a size that suits a job."""
        if inside is None:
            return [Section(file, split=split, count=1)]
        mask = self._mask(file, split)
        count = len(inside.demos if mask is None else inside.of_split(mask))
        fs, path = filesystem(file)
        usual = int(fs.info(path).get("size") or 0) / max(1, len(inside.demos))
        most = max(1, min(PART_EPISODES, int(PART_BYTES / max(1, usual))))
        lacking = len(inside.lacking_in(mask))  # the first section has their rejects
        if count <= most:
            return [Section(file, made_of=inside.made_of, split=split, count=count + lacking)]
        spans = [(at, min(at + most, count)) for at in range(0, count, most)]
        return [
            Section(file, start, stop, inside.made_of, split=split, count=stop - start + (0 if start else lacking))
            for start, stop in spans
        ]


def fits(path: str, pattern: str) -> bool:
    """Returns whether a path fits a pattern, folder by folder: `*` is within one folder, `**` is any number of folders.

    >>> fits("val/a.hdf5", "*.hdf5"), fits("val/a.hdf5", "*/*.hdf5"), fits("a.hdf5", "**/*.hdf5")
    (False, True, True)
    """
    return _fits(path.split("/"), pattern.split("/"))


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    first, *others = patterns
    if first == "**":
        return any(_fits(parts[skipped:], others) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], first) and _fits(parts[1:], others)


@lru_cache(maxsize=64)
def _contents(file: str, _version: str, paths: HdfPaths | None) -> HdfContents:
    return contents(kept_open(file), file, paths)
