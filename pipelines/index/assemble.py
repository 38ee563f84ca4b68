"""Makes index.json from the summaries of all runs of jobs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import FORMAT_VERSION, IndexedDataset, IndexedEntry, IndexFile, SplitCounts
from fasttok.errors import InputError
from pipelines.datasets.standardize import dim_names, encodings
from pipelines.index.file_summary import Widths, add_up
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.index.reject_reasons import frequent_reasons, told
from pipelines.index.run_summary import RunPlace, RunSummary


def assemble(
    runs: Mapping[RunPlace, Sequence[IndexJob]],
    sources: Mapping[str, DatasetSource],
    summaries: Mapping[RunPlace, RunSummary],
) -> IndexFile:
    """Makes index.json, in the order of datasets, splits and files.

    Args:
        runs: run -> its jobs, for all jobs.
        sources: name -> dataset.
        summaries: run -> its summary.

    Raises:
        InputError: a robot dataset has episodes with different dims, or no usable episode.
    """
    sha = hashlib.sha256()
    found: dict[str, dict[str, list[RunSummary]]] = {}
    for run, jobs in runs.items():
        summary = summaries[run]
        found.setdefault(run.dataset, {}).setdefault(run.split, []).append(summary)
        for job, digest in zip(jobs, summary.digests, strict=True):
            sha.update(f"{job.dataset}/{job.split}/{job.stem}:{digest}\n".encode())
    datasets = {}
    for name, parts in found.items():
        source = sources[name]
        splits = {split: _counts(done) for split, done in parts.items()}
        widths = {pair for done in parts.values() for summary in done for pair in summary.counts.widths}
        if source.entry.kind == "robot" and not widths:
            reasons = frequent_reasons(name, summaries, filtered=True)
            why = told(reasons, next(iter(runs)).out, name) if reasons else "the files are empty"
            raise InputError(f"{name}: no usable episode: {why}")
        entry = _indexed(name, source.entry, widths)
        datasets[name] = IndexedDataset(source.directory, entry, source.through, splits)
    return IndexFile(FORMAT_VERSION, sha.hexdigest()[:16], datasets)


def _counts(done: Sequence[RunSummary]) -> SplitCounts:
    """Returns the counts of all runs of a split together."""
    counts = add_up([summary.counts for summary in done])
    return SplitCounts(
        files=tuple(stem for summary in done for stem in summary.tables),
        read=counts.read,
        indexed=counts.indexed,
        steps=counts.steps,
        bytes=counts.bytes,
        filtered=counts.filtered,
        rejected=counts.rejected,
        left_out=counts.left_out,
    )


def _indexed(name: str, entry: DatasetEntry, widths: set[Widths]) -> IndexedEntry:
    """Returns an entry with the names, encodings and numbers of the columns, which are known now."""
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
