"""The episodes that a draft looks at; what cannot be read is kept aside, for messages."""

from collections.abc import Iterable, Iterator

from fasttok.episodes import BadRecord, Episode


def readable(records: Iterable[Episode | BadRecord], bad: list[BadRecord]) -> Iterator[Episode]:
    """The episodes; `bad` gets what is none."""
    for record in records:
        if isinstance(record, Episode):
            yield record
        else:
            bad.append(record)
