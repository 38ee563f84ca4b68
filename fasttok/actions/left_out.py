"""Counts the records of a dataset that could not be used, by reason, and names the first of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fasttok.episodes import MOST_NAMED, BadRecord

SHOWN = 10  # lines of a table or card


@dataclass
class LeftOut:
    """Records that were left out.

    Attributes:
        reasons: number of records by reason.
        named: the first of these records, in words.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def add(self, records: Iterable[BadRecord], counts: "Counter[str] | None" = None) -> None:
        """Adds records. If `records` are only the first ones, `counts` has the number of all of them by reason."""
        records = list(records)
        if counts is None:
            counts = Counter()
            for record in records:
                counts[record.reason] += record.records
        self.reasons.update(counts)
        self.named += [str(record) for record in records[: MOST_NAMED - len(self.named)]]

    @property
    def total(self) -> int:
        """Number of records."""
        return sum(self.reasons.values())

    def lines(self) -> list[str]:
        """Says in words what was left out: the counts, then the first records; [] if nothing was left out.

        >>> from fasttok.episodes import Where
        >>> out = LeftOut()
        >>> out.add([BadRecord(Where("a.npz"), "not finite", "episode 0, step 3, dim 1: action is nan")])
        >>> out.lines()
        ['1 record left out (1 not finite)', 'a.npz: episode 0, step 3, dim 1: action is nan']
        """
        if not self.total:
            return []
        counts = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        first = f"{self.total} record{'s' * (self.total > 1)} left out ({counts})"
        return [first, *self.named[:SHOWN], *(["and more"] if len(self.named) > SHOWN else [])]

    def to_json(self) -> dict[str, int | dict[str, int] | list[str]]:
        """Returns plain values, for `--json`."""
        return {"records": self.total, "reasons": dict(self.reasons), "named": list(self.named)}
