"""Finds out what a dataset's directory contains: its entry, and the files of each split."""

import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fasttok.common import stores
from fasttok.common.names import is_beside
from fasttok.common.stores import kind_at
from fasttok.episodes import rlds
from fasttok.episodes.dataset_entry import RECORDING_FORMATS, DatasetEntry, RecordingFormat
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.formats import OWN_ENTRY, format_of
from fasttok.episodes.lerobot_info import refuse_folder_of
from fasttok.errors import InputError
from pipelines import recordings, vlm
from pipelines.common.files import filesystem, join, read_json
from pipelines.datasets.find_entry import find_entry, own_entry
from pipelines.drafts import drafted
from pipelines.index.given_datasets import no_dataset
from pipelines.recordings import Section
from pipelines.recordings.rlds import DESCRIPTIONS, sections_of
from pipelines.recordings.split_notes import split_notes
from pipelines.vlm.confined_folder import ConfinedFolder
from pipelines.vlm.record import RecordError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DirectoryContents:
    """What a dataset directory contains.

    Attributes:
        name: name of the dataset.
        entry: what the features of the dataset mean.
        through: "" for the raw reader, else why the dataset is read through TFDS.
        sections: split -> the sections that jobs read.
        made_from: contents of the JSON files that describe a TFDS dataset, for stamps.
        described: paths of the files that describe how to read the sections.
    """

    name: str
    entry: DatasetEntry
    through: str
    sections: dict[str, list[Section]]
    made_from: list[Any]
    described: list[str] = field(default_factory=list)


def contents_of(directory: str, entries: Sequence[str] = ()) -> DirectoryContents:
    """Looks up a dataset directory.

    Args:
        directory: path or URL of the dataset.
        entries: YAML files of dataset entries, or folders of them, which count before the directory's own and the packaged ones.

    Raises:
        InputError: the directory is no dataset, has no entry, or does not fit its entry.
    """
    found = format_of(directory)
    if found == "rlds":
        return _in_tfds(directory, entries)
    if found is not None:
        return _recorded(directory, found, entries)
    if own_entry(directory, dataset_name(directory), entries) is None:
        refuse_folder_of(directory)
    return _in_folder(directory, entries)


def _recorded(directory: str, found: RecordingFormat, entries: Sequence[str]) -> DirectoryContents:
    """Reads robot episodes that are not RLDS. The entry is the user's, or drafted from the files if they say enough."""
    entry = own_entry(directory, dataset_name(directory), entries) or drafted(directory, found)
    if entry.kind != "robot":
        return _in_folder(directory, entries)
    if entry.format in RECORDING_FORMATS and entry.format != found:
        raise InputError(f"{directory} contains {found} files; its entry says format: {entry.format}")
    entry = replace(entry, format=found)
    opened = recordings.open_recordings(directory, entry)
    return DirectoryContents(entry.name, entry, "", opened.sections(), [], list(opened.described()))


def _in_tfds(directory: str, entries: Sequence[str]) -> DirectoryContents:
    """Reads a TFDS version folder: episodes, or examples with one image each."""
    opened = rlds.open_directory(directory)
    entry = find_entry(directory, opened.name, entries)
    if entry.kind != "robot":
        if entry.format != "tfds":
            raise InputError(f"{directory} is a TFDS directory; its entry needs format: tfds, not {entry.format}")
        if opened.through:
            raise InputError(
                f"{directory}: the raw reader does not cover {opened.through}, and {entry.kind} data is read by no other; "
                "store it as TFRecord files (TFDS: file_format=tfrecord) without that feature"
            )
    described = [f"{directory}/{name}" for name in DESCRIPTIONS]
    made_from = [read_json(file, "TFDS's") for file in described]
    sections = (
        sections_of(opened)
        if entry.kind == "robot"
        else {s: [Section(f) for f in files] for s, files in opened.splits.items()}
    )
    return DirectoryContents(opened.name, entry, opened.through, sections, made_from, described)


def _in_folder(directory: str, entries: Sequence[str]) -> DirectoryContents:
    """Reads a folder of questions or captions."""
    fs, path = filesystem(directory)
    if not kind_at(fs, path):
        raise no_dataset(directory)
    if fs.isfile(path):
        raise InputError(f"{directory} is a file; expected the folder of a dataset")
    versions = [f"{directory}/{found.rsplit('/', 1)[-1]}" for found in sorted(fs.ls(path, detail=False))]
    versions = [found for found in versions if rlds.is_rlds(found)]
    if versions:
        raise InputError(f"{directory} contains versions of a dataset; give one of them: {', '.join(versions)}")
    _check_whole(directory, entry=False)
    entry = find_entry(directory, directory.rsplit("/", 1)[-1], entries)
    if entry.kind == "robot" or (entry.format == "tfds" and not entry.exclude):
        _check_whole(directory, entry=True)
    files = {split: _matching(directory, split, of) for split, of in entry.splits.items()}
    of: dict[str, list[str]] = {}
    for split, own in files.items():
        for file in own:
            of.setdefault(stores.below(directory, file), []).append(split)
    for line in split_notes(of, "files", "the entry"):
        logger.warning("%s: %s", directory, line)
    sections = {split: [Section(file) for file in own] for split, own in files.items()}
    return DirectoryContents(entry.name, entry, "", sections, [])


def _check_whole(directory: str, entry: bool) -> None:
    """Checks that a TFDS version folder has the files that describe it. Other folders pass.

    Args:
        directory: path or URL.
        entry: whether an entry says that the directory is a TFDS version folder, even if it has none of the files of one.

    Raises:
        InputError: such a file is missing; the error names it.
    """
    fs, path = filesystem(directory)
    names = {found.rstrip("/").rsplit("/", 1)[-1] for found in fs.ls(path, detail=False)}
    missing = [name for name in DESCRIPTIONS if name not in names]
    there = sorted(name for name in names if ".tfrecord" in name or name in DESCRIPTIONS)
    if missing and (entry or (there and OWN_ENTRY not in names)):
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{' and '.join(f'{directory}/{name}' for name in missing)} {verb} missing; a robot dataset is a TFDS version folder "
            f"with {' and '.join(DESCRIPTIONS)} beside its TFRecord files: copy the whole folder, or give the right one"
        )


def _matching(directory: str, split: str, pattern: str) -> list[str]:
    """Returns the files of a split, sorted: the one with the name `pattern`, or those that match a pattern such as train-*.tar.

    Raises:
        InputError: there is no such file, or one leads out of the directory.
    """
    place = ConfinedFolder(directory)
    names = [pattern]
    if glob.has_magic(pattern) and kind_at(place.fs, f"{place.root}/{pattern}") != "file":
        found = place.fs.glob(f"{glob.escape(place.root)}/{pattern}")
        names = sorted(place.relative(path) for path in found if not is_beside(path))
    present = [name for name in names if kind_at(place.fs, f"{place.root}/{name}") == "file"]
    if not present:
        raise InputError(f"{directory}: split {split} has no file {pattern}")
    for name in present:
        try:
            place.find(name)
        except RecordError as error:
            raise InputError(f"split {split}: {error}; a dataset's files are in its directory ({directory})") from None
    return [f"{directory}/{name}" for name in present]


def check_images(entry: DatasetEntry, directory: str, split: str) -> None:
    """Checks that a split has its images and annotations; without them every record would fail.

    Raises:
        InputError: the images folder is missing or outside the directory, or VQAv2's annotations are missing.
    """
    if entry.format == "vqav2":
        _matching(directory, f"{split} (annotations)", entry.annotations[split])
    if entry.format in vlm.IN_ARCHIVES:
        return
    place = ConfinedFolder(directory)
    path = join(place.root, entry.images.format(split=split))
    if not kind_at(place.fs, path):
        raise InputError(
            f"{directory}: no images folder {entry.images.format(split=split)!r}; set `images:` in the dataset entry"
        )
    if not place.inside(path):
        raise InputError(
            f"{path} is a link out of {directory}, and nothing outside a dataset's directory is read; "
            "give the folder that contains both, with an entry for it: --entries"
        )
