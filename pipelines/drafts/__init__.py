"""Drafts entries for datasets that have none. `drafted` returns an entry that can be used, or asks what it must know."""

import logging
from collections.abc import Callable
from dataclasses import replace

from fasttok.common.next_command import command
from fasttok.episodes.dataset_entry import DatasetEntry, RecordingFormat
from fasttok.episodes.dataset_name import dataset_name
from fasttok.errors import InputError
from pipelines.datasets.entry_parser import parse_entry
from pipelines.drafts import hdf5, lerobot, tables
from pipelines.drafts.draft import Draft

logger = logging.getLogger(__name__)
PROPOSE: dict[RecordingFormat, Callable[[str], Draft]] = {
    "lerobot": lerobot.propose,
    "hdf5": hdf5.propose,
    "tables": tables.propose,
}


def drafted(directory: str, found: RecordingFormat) -> DatasetEntry:
    """Returns a drafted entry for a dataset that has none, and logs what the draft assumed.

    Args:
        directory: path or URL of the dataset.
        found: its format.

    Raises:
        InputError: the files leave open what only the owner of the data can say, such as what its actions are.
    """
    draft = PROPOSE[found](directory)
    asked = [question for question in draft.questions if not question.startswith("control_hz")]  # --control-hz gives it
    if asked:
        name = dataset_name(directory)
        raise InputError(
            f"{directory} has no entry that says what its features mean, and its files leave open:\n  "
            + "\n  ".join(asked)
            + f"\nWrite a draft: {command('fasttok-pipelines', 'datasets', 'draft', directory)} > {name}.yaml\n"
            f"Answer them in it, keep its name ({name}), and run the same command again with --entries {name}.yaml"
        )
    for line in draft.assumed:
        logger.warning("assumed: %s", line)
    entry = parse_entry(draft.text, f"the draft for {directory}")
    return replace(entry, guesses=draft.assumed)
