"""Runs all checks of a dataset, in order."""

import warnings
from dataclasses import dataclass

import numpy as np

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.check.action_findings import check_actions, measured
from pipelines.check.action_meaning import DimMeaning
from pipelines.check.camera_findings import check_cameras
from pipelines.check.dataset_findings import DatasetFinding, FoundAt, few, ordered
from pipelines.check.declared import check_declared, check_rejects
from pipelines.check.dim_ranges import check_dims
from pipelines.check.gripper_findings import check_grippers
from pipelines.check.idle_steps import check_idle
from pipelines.check.language_findings import check_languages
from pipelines.check.open_dataset import OpenedDataset, by_entry, open_dataset
from pipelines.check.outlier_steps import check_outliers
from pipelines.check.read_sample import read_sample
from pipelines.check.repeated_episodes import check_repeats
from pipelines.check.rotation_values import check_rotations
from pipelines.check.sampled import EpisodeSample
from pipelines.check.timing import check_timing
from pipelines.datasets.find_entry import find_entry, refuse_unused
from pipelines.look.lint_copies import is_held_out


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Result of all checks of a dataset.

    Attributes:
        dataset: the dataset.
        entry: its entry, which says what its features mean; None if it has none.
        sample: the episodes that were kept for the checks.
        meanings: measured meaning of each action dim.
        findings: findings, the worst first.
        read: number of episodes that were read.
        rejected: number of records that cannot be used.
    """

    dataset: OpenedDataset
    entry: DatasetEntry | None
    sample: EpisodeSample
    meanings: list[DimMeaning]
    findings: list[DatasetFinding]
    read: int
    rejected: int


def diagnose(
    path: str, entries: tuple[str, ...] = (), splits: tuple[str, ...] = (), most: int = 500, cameras: bool = True
) -> Diagnosis:
    """Reads a sample and runs all checks.

    Args:
        path: path or URL of the dataset.
        entries: YAML files or folders of them, which are used before the packaged entries.
        splits: splits to check; () for all, in HDF5 only `train` and held-out splits.
        most: number of episodes to keep for the checks.
        cameras: whether to check cameras.

    Raises:
        InputError: nothing is there, a split is unknown, the entry is wrong, it is not that of a robot dataset, or a file of
            `entries` is of another dataset.
    """
    dataset = open_dataset(path)
    entry = _entry(dataset, entries)
    if entry is not None and entry.kind != "robot":
        raise InputError(f"{path} contains {entry.kind} records by its entry; check is for recordings of robots")
    dataset = by_entry(dataset, entry)
    chosen = tuple(dict.fromkeys(splits)) or _wanted(dataset)  # episodes of a split named twice are no copies
    unknown = [split for split in chosen if split not in dataset.splits]
    if unknown:
        raise InputError(f"{path} has no split {unknown[0]!r}; there are {', '.join(dataset.splits)}")
    sample, rejects = read_sample(dataset, entry, list(chosen), most, cameras)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # NaN and inf are findings of their own; other values are still checked
        meanings = measured(sample)
        findings = [
            *check_rejects(rejects),
            *check_declared(dataset),
            *_lacking(sample, entry, dataset),
            *check_timing(sample, entry),
            *check_actions(sample, meanings),
            *check_grippers(sample),
            *check_rotations(sample),
            *check_dims(sample),
            *check_outliers(sample),
            *check_idle(sample, meanings),
            *check_languages(sample, entry),
            *(check_cameras(sample, entry, dataset.cameras_known) if cameras else ()),
            *check_repeats(sample),
        ]
    read, rejected = sum(rejects.read.values()), sum(rejects.counts.values())
    return Diagnosis(dataset, entry, sample, meanings, ordered(findings), read, rejected)


def _wanted(dataset: OpenedDataset) -> tuple[str, ...]:
    """Returns all splits. In HDF5, splits may share episodes on purpose, so only `train` and held-out splits count."""
    if dataset.form != "HDF5":
        return dataset.splits
    return tuple(split for split in dataset.splits if split == "train" or is_held_out(split))


def _entry(dataset: OpenedDataset, entries: tuple[str, ...]) -> DatasetEntry | None:
    refuse_unused(entries, [dataset.name])
    try:
        return find_entry(dataset.path, dataset.name, entries)
    except InputError as error:
        if "no entry says what" in str(error):
            return None
        raise


def _lacking(sample: EpisodeSample, entry: DatasetEntry | None, dataset: OpenedDataset) -> list[DatasetFinding]:
    """Reports that there are no episodes, or that they have no action."""
    if not sample.episodes:
        todo = "see the errors above; without episodes there is nothing else to check"
        return [DatasetFinding("error", "no-episodes", FoundAt(dataset.path), "no episode could be read", todo)]
    if sample.columns.action:
        return []
    what = "no action was found" + (" where the entry says that it is" if entry is not None else " under a usual name")
    todo = "name its features in an entry: fasttok-pipelines datasets draft DIR"
    return [DatasetFinding("error", "no-action", FoundAt(dataset.path), what, todo)]


def summary(diagnosis: Diagnosis) -> str:
    """Returns one line for people that says what was read. The numbers are in the JSON, too."""
    sample = diagnosis.sample
    steps = sum(len(episode.action) for episode in sample.episodes)
    splits = few(sorted({episode.split for episode in sample.episodes}))
    meant = "by its entry" if diagnosis.entry is not None else "without an entry: columns by their usual names"
    return (
        f"{diagnosis.dataset.path}: {diagnosis.dataset.form}, {diagnosis.read:,} episodes read, {len(sample.episodes):,} of them "
        f"checked ({steps:,} steps of {splits}), {meant}"
    )
