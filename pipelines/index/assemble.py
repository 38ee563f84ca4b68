"""index.json, put together from the summaries of all jobs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import FORMAT_VERSION, IndexedDataset, IndexedEntry, IndexFile, SplitCounts
from fasttok.errors import InputError
from pipelines.datasets.standardize import dim_names, encodings
from pipelines.index.file_summary import FileSummary, Widths
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.index.reject_reasons import frequent_reasons, told


def assemble(
    jobs: Sequence[IndexJob], sources: Mapping[str, DatasetSource], summaries: Mapping[str, FileSummary]
) -> IndexFile:
    """index.json, in the order of datasets, splits and files.

    Args:
        jobs: all of them.
        sources: datasets by name.
        summaries: by the jobs' bases.

    Raises:
        InputError: a file was not indexed, a dataset has files of different dims or nothing usable, or counts do not balance.
    """
    sha = hashlib.sha256()
    found: dict[str, dict[str, list[tuple[IndexJob, FileSummary]]]] = {}
    for job in jobs:
        summary = summaries.get(job.base)
        if summary is None:
            raise InputError(f"{job.file} was not indexed; run the same command again to finish")
        left = sum(summary.rejected.values()) + sum(summary.filtered.values())
        if summary.read != summary.indexed + left:
            raise InputError(f"{job.file}: read {summary.read} != indexed {summary.indexed} + left out {left}")
        found.setdefault(job.dataset, {}).setdefault(job.split, []).append((job, summary))
        sha.update(f"{job.dataset}/{job.split}/{job.stem}:{summary.digest}\n".encode())
    datasets = {}
    for name, parts in found.items():
        source = sources[name]
        splits = {split: _counts(done) for split, done in parts.items()}
        widths = {pair for done in parts.values() for _, summary in done for pair in summary.widths}
        if source.entry.kind == "robot" and not widths:
            reasons = frequent_reasons(name, jobs, summaries, filtered=True)
            why = told(reasons, jobs[0].out, name) if reasons else "the files are empty"
            raise InputError(f"{name}: no usable episode: {why}")
        entry = _indexed(name, source.entry, widths)
        datasets[name] = IndexedDataset(source.directory, entry, source.through, splits)
    return IndexFile(FORMAT_VERSION, sha.hexdigest()[:16], datasets)


def _counts(done: Sequence[tuple[IndexJob, FileSummary]]) -> SplitCounts:
    """What a split's jobs came to, all together."""
    summaries = [summary for _, summary in done]
    return SplitCounts(
        files=tuple(job.stem for job, _ in done),
        read=sum(s.read for s in summaries),
        indexed=sum(s.indexed for s in summaries),
        steps=sum(s.steps for s in summaries),
        bytes=sum(s.bytes for s in summaries),
        filtered=_total(s.filtered for s in summaries),
        rejected=_total(s.rejected for s in summaries),
        left_out=_total(s.left_out for s in summaries),
    )


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason, added up, in alphabetical order.

    >>> _total([{"b": 1}, {"a": 2, "b": 1}])
    {'a': 2, 'b': 2}
    """
    total = Counter[str]()
    for one in counts:
        total += Counter(one)
    return dict(sorted(total.items()))


def _indexed(name: str, entry: DatasetEntry, widths: set[Widths]) -> IndexedEntry:
    """An entry with what it says of its columns, now that they were seen."""
    own = {f.name: getattr(entry, f.name) for f in fields(DatasetEntry)}
    if entry.kind != "robot":
        return IndexedEntry(**own)
    if len(widths) > 1:
        raise InputError(f"{name}: dims of the parts of (action, proprio) differ between episodes: {sorted(widths)}")
    action, proprio = next(iter(widths))
    return IndexedEntry(
        **own,
        action_dim=sum(action),
        proprio_dim=sum(proprio),
        action_widths=action,
        proprio_widths=proprio,
        action_encoding=tuple(encodings(entry.action, action)),
        action_names=tuple(dim_names(entry.action, action)),
        proprio_names=tuple(dim_names(entry.proprio, proprio)),
    )
