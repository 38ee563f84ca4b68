"""Reads the episodes that a draft looks at, and collects records that cannot be read, for messages."""

from collections.abc import Iterable, Iterator

from fasttok.episodes import BadRecord, Episode


def readable(records: Iterable[Episode | BadRecord], bad: list[BadRecord]) -> Iterator[Episode]:
    """Yields the episodes. Records that cannot be read go to `bad`."""
    for record in records:
        if isinstance(record, Episode):
            yield record
        else:
            bad.append(record)
