"""Checks that what an `index` command says about single datasets and splits is about those that it indexes."""

from collections.abc import Collection

from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError, unknown_name
from pipelines.datasets.find_entry import refuse_unused
from pipelines.index.config import IndexConfig


def check_for_robots(config: IndexConfig, entry: DatasetEntry) -> None:
    """Refuses --control-hz and --keep-ranges of a dataset without actions.

    Raises:
        InputError: a flag names the dataset of this entry, and it is questions or captions.
    """
    if entry.kind == "robot":
        return
    for flag, given in _by_name(config):
        for text in given:
            if text.partition("=")[0] == entry.name:
                raise InputError(
                    f"{flag} {text}: {entry.name} has questions or captions and no actions; leave this out"
                )


def _by_name(config: IndexConfig) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns the flags whose values are NAME=VALUE, each with its values."""
    return (("--control-hz", config.control_hz), ("--keep-ranges", config.keep_ranges))


def check_names(config: IndexConfig, datasets: Collection[str], splits: Collection[str]) -> None:
    """Checks the names in --control-hz, --keep-ranges, --entries and --splits.

    Args:
        config: configuration of the command.
        datasets: names of the datasets that it indexes.
        splits: names of the splits that it indexes.

    Raises:
        InputError: a flag names something else, so it would have no effect.
    """
    for flag, given in _by_name(config):
        for text in given:
            name = text.partition("=")[0]
            if name not in datasets:
                raise InputError(f"{flag} {text}: {unknown_name('dataset', name, datasets)}")
    refuse_unused(config.entries, datasets)
    absent = [split for split in config.splits if split not in splits]
    if absent:
        raise InputError(
            f"--splits {absent[0]}: no dataset has such a split; correct it, or leave --splits out to index all of them"
        )
