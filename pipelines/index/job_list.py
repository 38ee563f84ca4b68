"""Lists the jobs of stage 1: finds a dataset's entry and files from its directory, and cuts the files into jobs."""

import glob
import logging
import re
from dataclasses import dataclass, field, replace
from typing import Any

from fasttok.common import json_files, stores
from fasttok.common.names import is_beside, is_unicode, plain_name
from fasttok.common.stores import kind_at
from fasttok.episodes import rlds
from fasttok.episodes.dataset_entry import RECORDING_FORMATS, DatasetEntry, RecordingFormat
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.formats import OWN_ENTRY, format_of
from fasttok.episodes.index_file import FORMAT_VERSION
from fasttok.episodes.lerobot_info import refuse_folder_of
from fasttok.errors import InputError
from pipelines import recordings, vlm
from pipelines.common.files import filesystem, join, read_json
from pipelines.common.source_stamp import stamp_files, with_contents
from pipelines.datasets.find_entry import find_entry, own_entry
from pipelines.datasets.keep_ranges import with_ranges
from pipelines.drafts import drafted
from pipelines.index.config import IndexConfig
from pipelines.index.given_datasets import no_dataset
from pipelines.index.given_names import check_for_robots, check_names
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.recordings import Section
from pipelines.recordings.rlds import DESCRIPTIONS, sections_of
from pipelines.recordings.split_notes import split_notes
from pipelines.vlm.confined_folder import ConfinedFolder
from pipelines.vlm.record import RecordError

logger = logging.getLogger(__name__)
# Bytes of a file's name in the names of its tables: a file system allows 255, and temporary names are longer.
MOST_OF_A_NAME = 150
SUFFIXES = (".tfrecord", ".jsonl", ".json", ".parquet", ".tar", ".hdf5", ".h5")


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


def plan_jobs(directory: str, config: IndexConfig, out: str) -> tuple[DatasetSource, list[IndexJob]]:
    """Looks up a dataset directory, and lists the jobs that index it.

    Args:
        directory: path or URL of the dataset.
        config: configuration of the command.
        out: path or URL of the INDEX.

    Raises:
        InputError: the directory is no dataset, has no entry, has none of the splits asked for, does not fit its entry, or has
            a file whose name is not UTF-8.
    """
    contents = _contents(directory, config)
    plain_name(contents.name, "dataset name", directory)
    for split in contents.sections:
        plain_name(split, "split", directory)
    chosen = [split for split in contents.sections if not config.splits or split in config.splits]
    if not chosen:
        raise InputError(
            f"{contents.name} has none of the splits {', '.join(config.splits)}; it has {', '.join(contents.sections)}"
        )
    check_for_robots(config, contents.entry)
    entry = with_ranges(with_limit(usable(contents.entry, config.control_hz), config.max_record), config.keep_ranges)
    beside = [("", file) for file in contents.described]
    if entry.format == "vqav2":
        beside += [(split, join(directory, entry.annotations[split])) for split in chosen]
    sections = [section for split in chosen for section in contents.sections[split]]
    files = [*(file for _, file in beside), *(f for section in sections for f in (section.file, *section.made_of))]
    for path in (directory, *files):
        if not is_unicode(path):
            raise InputError(f"{path!r}: this path is not UTF-8, so an INDEX cannot name it; rename the file or folder")
    stamps = stamp_files(files)
    stamped = tuple((split, file, with_contents(stamps[file], file, False)) for split, file in beside)
    source = DatasetSource(directory, contents.name, entry, config.verify, contents.through, stamped)
    settings = json_files.digest(
        [FORMAT_VERSION, json_files.encode(entry), source.verify, contents.through, contents.made_from]
    )
    jobs = []
    for split in chosen:
        if entry.kind != "robot":
            _check_images(entry, directory, split)
        number = 0
        for section in contents.sections[split]:
            others = tuple((file, stamps[file]) for file in section.made_of)
            also = [stamp for of, _, stamp in stamped if of == split] + [stamp for _, stamp in others]
            of_section = [section.digest] if section.digest else []
            stamp = json_files.digest(
                [settings, *(json_files.encode(one) for one in (stamps[section.file], *also)), *of_section]
            )
            for start, stop, first in _ranges(entry, directory, split, section):
                jobs.append(
                    IndexJob(
                        out=out,
                        dataset=contents.name,
                        split=split,
                        file=section.file,
                        stem=_stem(section.file, number),
                        stamp=stamp,
                        source=source.digest,
                        start=start,
                        stop=stop,
                        first=first,
                        found=stamps[section.file],
                        others=others,
                        number=number,
                        offset=section.offset,
                    )
                )
                number += 1
    return source, jobs


def plan_all(config: IndexConfig, out: str) -> tuple[dict[str, DatasetSource], list[IndexJob]]:
    """Returns name -> dataset for all datasets of a command, and all jobs in their order.

    Raises:
        InputError: there is no dataset, two have one name, one cannot be indexed, or a flag names none of them.
    """
    if not config.datasets:
        raise InputError("nothing to index: give at least one dataset directory")
    sources: dict[str, DatasetSource] = {}
    jobs: list[IndexJob] = []
    for directory in config.datasets:
        source, more = plan_jobs(stores.own_path(directory), config, out)
        if source.dataset in sources:
            first = sources[source.dataset].directory
            raise InputError(
                f"dataset {source.dataset!r} is given twice, as {first} and {source.directory}; its name must be unique in an "
                "INDEX: rename a folder"
            )
        sources[source.dataset] = source
        jobs += more
    check_names(config, sources, {job.split for job in jobs})
    return sources, jobs


def _ranges(entry: DatasetEntry, directory: str, split: str, section: Section) -> list[vlm.Range]:
    """Cuts a section into the ranges of its jobs: one job for robot episodes; files of questions are cut by their size."""
    if entry.kind == "robot":
        return [(section.start, section.stop, section.start if section.offset else 0)]
    return vlm.ranges(vlm.SourceFile(entry, directory, split, section.file))


def _contents(directory: str, config: IndexConfig) -> DirectoryContents:
    found = format_of(directory)
    if found == "rlds":
        return _in_tfds(directory, config)
    if found is not None:
        return _recorded(directory, found, config)
    if own_entry(directory, dataset_name(directory), config.entries) is None:
        refuse_folder_of(directory)
    return _in_folder(directory, config)


def _recorded(directory: str, found: RecordingFormat, config: IndexConfig) -> DirectoryContents:
    """Reads robot episodes that are not RLDS. The entry is the user's, or drafted from the files if they say enough."""
    entry = own_entry(directory, dataset_name(directory), config.entries) or drafted(directory, found)
    if entry.kind != "robot":
        return _in_folder(directory, config)
    if entry.format in RECORDING_FORMATS and entry.format != found:
        raise InputError(f"{directory} contains {found} files; its entry says format: {entry.format}")
    entry = replace(entry, format=found)
    opened = recordings.open_recordings(directory, entry)
    return DirectoryContents(entry.name, entry, "", opened.sections(), [], list(opened.described()))


def _in_tfds(directory: str, config: IndexConfig) -> DirectoryContents:
    """Reads a TFDS version folder: episodes, or examples with one image each."""
    opened = rlds.open_directory(directory)
    entry = find_entry(directory, opened.name, config.entries)
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


def _in_folder(directory: str, config: IndexConfig) -> DirectoryContents:
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
    entry = find_entry(directory, directory.rsplit("/", 1)[-1], config.entries)
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


def _check_images(entry: DatasetEntry, directory: str, split: str) -> None:
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


def with_limit(entry: DatasetEntry, text: str | None) -> DatasetEntry:
    """Returns the entry with another limit for the size of a record; None keeps the limit.

    Raises:
        InputError: the text is no size.

    >>> with_limit(DatasetEntry("toy", "robot"), "512M").max_record
    536870912
    """
    if text is None:
        return entry
    found = re.fullmatch(r"([1-9][0-9]{0,15})([kKmMgG]?)", text)
    if not found:
        raise InputError(
            f"--max-record {text}: expected a number of bytes, or of K, M or G of them, such as 512M or 2G"
        )
    return replace(entry, max_record=int(found[1]) << 10 * " KMG".index(found[2].upper() or " "))


def usable(entry: DatasetEntry, control_hz: tuple[str, ...]) -> DatasetEntry:
    """Returns the entry with its control frequency, which NAME=HZ in `control_hz` may replace.

    Raises:
        InputError: the entry is excluded, no control frequency is known or given, or --control-hz is no NAME=HZ.
    """
    if entry.exclude:
        raise InputError(
            f"{entry.name} is excluded: {entry.exclude}. To use it anyway, pass your own entry with --entries FILE"
        )
    given = {}
    for text in control_hz:
        name, _, hz = text.partition("=")
        try:
            given[name] = float(hz)
        except ValueError:
            given[name] = 0.0
        if not 0 < given[name] < float("inf"):
            raise InputError(f"--control-hz {text}: expected NAME=HZ, such as {entry.name}=10")
    known = given.get(entry.name, entry.control_hz)
    if entry.kind == "robot" and known is None:
        raise InputError(f"{entry.name}: its control frequency is not known; pass it: --control-hz {entry.name}=HZ")
    return replace(entry, control_hz=known)


def _stem(file: str, number: int) -> str:
    name = file.rsplit("/", 1)[-1]
    for suffix in SUFFIXES:
        name = name.replace(suffix, "")
    return f"{number:05d}-{name.encode()[:MOST_OF_A_NAME].decode(errors='ignore')}"
