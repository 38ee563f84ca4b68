"""What one job of `index` came to, and what several came to together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Widths = tuple[tuple[int, ...], tuple[int, ...]]  # columns that each piece of an action, and of a proprio, took


@dataclass(frozen=True)
class RecordCounts:
    """What became of records: read = indexed + filtered + rejected.

    Attributes:
        read: records read.
        indexed: episodes, questions or captions that are there to use.
        filtered: records that the entry's filters do not want, by reason.
        rejected: records that cannot be used, by reason.
        steps: of all indexed episodes; a question or caption is one.
        left_out: steps, or pieces of records, that are missing from indexed ones, by reason.
        bytes: of all records read.
        widths: that were seen, each once; robots only.
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
    """What one job came to.

    Attributes:
        counts: of its records.
        digest: of what its tables hold.
        contents: of the source file's stamp; "" if they need not be known, or another job of the file has them.
        others: the same of the job's other files.
    """

    counts: RecordCounts
    digest: str
    contents: str
    others: tuple[str, ...]


def add_up(every: Sequence[RecordCounts]) -> RecordCounts:
    """Counts of all together."""
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
    """Counts by reason, added up, in alphabetical order.

    >>> _total([{"b": 1}, {"a": 2, "b": 1}])
    {'a': 2, 'b': 2}
    """
    total = Counter[str]()
    for one in counts:
        total += Counter(one)
    return dict(sorted(total.items()))
