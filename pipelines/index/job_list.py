"""Lists the jobs of stage 1: cuts the files of datasets into jobs."""

import logging
import re
from dataclasses import replace

from fasttok.common import json_files, stores
from fasttok.common.names import check_utf8, plain_name
from fasttok.common.next_command import command
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import FORMAT_VERSION
from fasttok.errors import InputError
from pipelines import vlm
from pipelines.common.files import join
from pipelines.common.source_stamp import stamp_files, with_contents
from pipelines.datasets.keep_ranges import with_ranges
from pipelines.index.config import IndexConfig
from pipelines.index.directory_contents import check_images, contents_of
from pipelines.index.given_names import check_for_robots, check_names
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.recordings import Section

logger = logging.getLogger(__name__)
# Bytes of a file's name in the names of its tables: a file system allows 255, and temporary names are longer.
MOST_OF_A_NAME = 150
SUFFIXES = (".tfrecord", ".jsonl", ".json", ".parquet", ".tar", ".hdf5", ".h5")


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
    contents = contents_of(directory, config.entries)
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
        check_utf8(path, "so an INDEX cannot name it")
    stamps = stamp_files(files)
    stamped = tuple((split, file, with_contents(stamps[file], file, False)) for split, file in beside)
    source = DatasetSource(directory, contents.name, entry, config.verify, contents.through, stamped)
    settings = json_files.digest(
        [FORMAT_VERSION, json_files.encode(entry), source.verify, contents.through, contents.made_from]
    )
    jobs = []
    for split in chosen:
        if entry.kind != "robot":
            check_images(entry, directory, split)
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
    flag = command("--control-hz", f"{entry.name}=HZ")
    for text in control_hz:
        name, _, hz = text.partition("=")
        try:
            given[name] = float(hz)
        except ValueError:
            given[name] = 0.0
        if not 0 < given[name] < float("inf"):
            raise InputError(f"--control-hz {text}: expected NAME=HZ, such as {command(f'{entry.name}=10')}")
    known = given.get(entry.name, entry.control_hz)
    if entry.kind == "robot" and known is None:
        raise InputError(f"{entry.name}: its control frequency is not known; pass it: {flag}")
    return replace(entry, control_hz=known)


def _stem(file: str, number: int) -> str:
    name = file.rsplit("/", 1)[-1]
    for suffix in SUFFIXES:
        name = name.replace(suffix, "")
    return f"{number:05d}-{name.encode()[:MOST_OF_A_NAME].decode(errors='ignore')}"
