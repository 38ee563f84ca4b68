"""Reads episodes in HDF5 files of the layouts that `hdf5_layout` knows.

These are robomimic, robosuite, LIBERO, ALOHA, ManiSkill, D4RL and more. Links out of a file are not followed.
"""

from collections.abc import Iterator

from fasttok.episodes.episode import BadRecord, Episode, Where
from fasttok.episodes.hdf5_episode import read_demo
from fasttok.episodes.hdf5_file import FAULTS, Node, brief, opened
from fasttok.episodes.hdf5_layout import TRAIN, HdfContents, contents, files_below, folder_split
from fasttok.errors import InputError

__all__ = ["files_below", "read"]


def read(root: str, files: list[str], name: str, split: str) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of a split, in the order of the files and of the episodes' numbers.

    Masks in the files, and folders named like a split, decide which episodes belong to the split.

    Args:
        root: the dataset's folder or file; folders below it may be named like a split.
        files: the dataset's files.
        name: name of the dataset.
        split: name of the split.

    Raises:
        InputError: no file has this split.
    """
    known: set[str] = set()
    for path in files:
        own = folder_split(root, path)
        if own is not None:
            known.add(own)
            if own != split:
                continue
        try:
            with opened(path) as file:
                found = contents(file, path)
                known |= set(found.splits) | ({own} if own else {TRAIN})
                if own is None and split not in found.splits and split != TRAIN:
                    continue
                yield from _episodes(file, found, path, name, None if own else split)
        except InputError:
            raise
        except FAULTS as error:
            yield BadRecord(Where(path), "hdf5", brief(error))
    if split not in known and known:
        raise InputError(f"{root} has no split {split!r}; there are {', '.join(sorted(known))}")


def _episodes(file: Node, found: HdfContents, path: str, name: str, split: str | None) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of a split of an opened file (all for None), and a BadRecord for what it declares but lacks."""
    for of, lacking in found.lacking:
        if of is not None and of == split:
            yield lacking
    for demo in found.demos if split is None else found.of_split(split):
        yield read_demo(file, path, demo, name)
    yield from (lacking for of, lacking in found.lacking if of is None)
