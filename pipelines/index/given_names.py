"""Checks that what an `index` command says about single datasets and splits is about those that it indexes."""

from collections.abc import Collection

from fasttok.errors import InputError, unknown_name
from pipelines.datasets.find_entry import refuse_unused
from pipelines.index.config import IndexConfig


def check_names(config: IndexConfig, datasets: Collection[str], splits: Collection[str]) -> None:
    """Checks the names in --control-hz, --keep-ranges, --entries and --splits.

    Args:
        config: configuration of the command.
        datasets: names of the datasets that it indexes.
        splits: names of the splits that it indexes.

    Raises:
        InputError: a flag names something else, so it would have no effect.
    """
    for flag, given in (("--control-hz", config.control_hz), ("--keep-ranges", config.keep_ranges)):
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
