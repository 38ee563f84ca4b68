"""Counts and digest of what one job of `index` read, and the sum of several counts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Widths = tuple[tuple[int, ...], tuple[int, ...]]  # number of columns of each piece of an action, and of a proprio


@dataclass(frozen=True)
class RecordCounts:
    """What became of records: read = indexed + filtered + rejected.

    Attributes:
        read: number of records that were read.
        indexed: number of episodes, questions or captions that can be used.
        filtered: reason -> number of records that the entry's filters do not want.
        rejected: reason -> number of records that cannot be used.
        steps: number of steps of all indexed episodes; a question or caption counts as one.
        left_out: reason -> number of steps, or pieces of records, that are missing from indexed records.
        bytes: bytes of all records that were read.
        widths: the widths that episodes have, each once; () for questions and captions.
    """

    read: int
    indexed: int
    filtered: dict[str, int]
    rejected: dict[str, int]
    steps: int
    left_out: dict[str, int]
    bytes: int
    widths: tuple[Widths, ...]

    @property
    def balanced(self) -> bool:
        """Whether no record was lost."""
        return self.read == self.indexed + sum(self.filtered.values()) + sum(self.rejected.values())


@dataclass(frozen=True)
class FileSummary:
    """Summary of one job.

    Attributes:
        counts: counts of its records.
        digest: sha256 of the contents of its tables.
        contents: `contents` of the source file's stamp; "" if they are not needed, or another job of the file has them.
        others: `contents` of the stamps of the job's other files.
    """

    counts: RecordCounts
    digest: str
    contents: str
    others: tuple[str, ...]


def add_up(every: Sequence[RecordCounts]) -> RecordCounts:
    """Returns the sum of all counts."""
    return RecordCounts(
        read=sum(one.read for one in every),
        indexed=sum(one.indexed for one in every),
        filtered=_total(one.filtered for one in every),
        rejected=_total(one.rejected for one in every),
        steps=sum(one.steps for one in every),
        left_out=_total(one.left_out for one in every),
        bytes=sum(one.bytes for one in every),
        widths=tuple(sorted({pair for one in every for pair in one.widths})),
    )


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Returns the sum of counts by reason, in alphabetical order.

    >>> _total([{"b": 1}, {"a": 2, "b": 1}])
    {'a': 2, 'b': 2}
    """
    total = Counter[str]()
    for one in counts:
        total += Counter(one)
    return dict(sorted(total.items()))
