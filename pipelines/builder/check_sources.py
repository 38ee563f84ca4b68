"""Checks that the source files are still those that the INDEX describes.

`build` does this once per file, for many files at a time, before it makes a plan. An INDEX contains offsets, actions and
statistics of the files as they were, and rows from changed files would not match them. `pipelines/common/source_stamp.py` says
what is compared, and docs/scale.md which changes are not noticed. A worker also compares the checksum of each record that it
reads (`source_records.py`), so a file that changes later gives dead letters.
"""

import logging
from collections.abc import Collection

from fasttok.errors import InputError
from pipelines.common.side_by_side import side_by_side
from pipelines.common.source_stamp import difference, stamp_files
from pipelines.common.source_table import read_table

logger = logging.getLogger(__name__)


def check_sources(wanted: Collection[tuple[str, str]], index: str) -> None:
    """Compares the source files of some datasets with the INDEX.

    Args:
        wanted: (dataset, split) of all sources of the build.
        index: path or URL of the INDEX.

    Raises:
        InputError: a file changed, or does not exist any more.
    """
    files = read_table(index)
    if files is None:
        logger.warning(
            "%s has no sources.arrow, as it was made by fasttok 0.1.0: nothing tells whether its source files have changed "
            "since; `fasttok-pipelines index` makes one that does",
            index,
        )
        return
    datasets = {dataset for dataset, _ in wanted}
    asked = [f for f in files if (f.dataset, f.split) in wanted or (not f.split and f.dataset in datasets)]
    stamps = stamp_files(file.file for file in asked)
    found = side_by_side(lambda file: difference(file.stamp, file.file, stamps[file.file]), asked)
    changed = [(file, pair) for file, pair in zip(asked, found, strict=True) if pair is not None]
    if changed:
        file, (held, now) = changed[0]
        more = f" ({len(changed) - 1} more files of {len(asked)} changed, too)" if len(changed) > 1 else ""
        raise InputError(
            f"{file.file} changed since it was indexed: {index} contains {held}, found {now}{more}; "
            "run `fasttok-pipelines index` again"
        )
