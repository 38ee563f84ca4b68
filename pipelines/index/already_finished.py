"""Checks for `index --resume` that a finished INDEX still matches its datasets, so that nothing is left to do."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import IndexFile
from fasttok.errors import InputError
from pipelines.common.side_by_side import side_by_side
from pipelines.common.source_stamp import difference, stamp_files
from pipelines.common.source_table import StampedFile, read_table
from pipelines.index.job import DatasetSource, IndexJob


def check_same(index: IndexFile, out: str, sources: Mapping[str, DatasetSource], jobs: Sequence[IndexJob]) -> None:
    """Compares a finished INDEX with what would be indexed now; no record is read.

    Args:
        index: index.json of the INDEX.
        out: path or URL of the INDEX.
        sources: name -> dataset that would be indexed.
        jobs: jobs that would index them.

    Raises:
        InputError: a dataset, entry, split or file is new, missing or changed.
    """
    why = _other_datasets(index, sources, jobs) or _changed(read_table(out), sources, jobs)
    if why:
        raise InputError(
            f"{out} is finished, but {why}; pass --overwrite to index all of it again, or choose another --out"
        )


def _other_datasets(index: IndexFile, sources: Mapping[str, DatasetSource], jobs: Sequence[IndexJob]) -> str:
    names, held = set(sources), set(index.datasets)
    if names != held:
        return f"contains the datasets {', '.join(sorted(held))}, and asked for are {', '.join(sorted(names))}"
    for name, source in sources.items():
        entry = index.datasets[name].entry
        key = next(
            (f.name for f in fields(DatasetEntry) if getattr(entry, f.name) != getattr(source.entry, f.name)), ""
        )
        if key:
            return f"the entry of {name} says something else now ({key})"
        splits = {job.split for job in jobs if job.dataset == name}
        if splits != set(index.datasets[name].splits):
            return f"contains the splits {', '.join(index.datasets[name].splits)} of {name}, not {', '.join(sorted(splits))}"
    return ""


def _changed(files: list[StampedFile] | None, sources: Mapping[str, DatasetSource], jobs: Sequence[IndexJob]) -> str:
    if files is None:  # made by fasttok 0.1.0
        return ""
    held = {(file.dataset, file.split, file.file) for file in files if file.split}
    wanted = {
        (job.dataset, job.split, file) for job in jobs for file in (job.file, *(other for other, _ in job.others))
    }
    wanted |= {
        (source.dataset, split, file) for source in sources.values() for split, file, _ in source.beside if split
    }
    if gone := sorted(held - wanted):
        return f"{gone[0][2]} is not there any more"
    if new := sorted(wanted - held):
        return f"{new[0][2]} is new"
    stamps = stamp_files(file.file for file in files)
    differences = side_by_side(lambda file: difference(file.stamp, file.file, stamps[file.file]), files)
    for file, found in zip(files, differences, strict=True):
        if found is not None:
            return f"{file.file} changed since it was indexed: the INDEX contains {found[0]}, found {found[1]}"
    return ""
