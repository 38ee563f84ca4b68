"""The error budget of `index`: how many bad records it accepts in a dataset before it fails."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fasttok.episodes.index_file import IndexFile
from fasttok.errors import InputError
from pipelines.index.reject_reasons import RejectReason, told


@dataclass(frozen=True)
class ErrorBudget:
    """The largest number of bad records that a dataset may have.

    Attributes:
        text: the budget, as the user wrote it.
        share: share of the records that were read, in [0, 1].
        count: number of records; None if `share` decides.
    """

    text: str
    share: float = 1.0
    count: int | None = None

    def spent(self, bad: int, read: int) -> bool:
        """Returns whether `bad` of `read` records are more than the budget allows."""
        return bad > (self.share * read if self.count is None else self.count)


def parse_budget(text: str) -> ErrorBudget:
    """Reads a budget: a percentage such as 0.1%, or a number of records.

    Raises:
        InputError: the text is neither.

    >>> parse_budget("0.1%").spent(2, 1000), parse_budget("3").spent(3, 10)
    (True, False)
    """
    try:
        share = text.endswith("%")
        budget = ErrorBudget(text, float(text[:-1]) / 100) if share else ErrorBudget(text, count=int(text))
        if not 0 <= budget.share <= 1 or (budget.count or 0) < 0:
            raise ValueError
    except ValueError:
        raise InputError(f"--max-bad {text}: expected a share such as 0.1%, or a number of records") from None
    return budget


def check_budget(
    index: IndexFile, budget: ErrorBudget, reasons: Mapping[str, Sequence[RejectReason]], out: str
) -> None:
    """Checks every dataset against the error budget.

    Args:
        index: index.json of the INDEX.
        budget: budget of each dataset.
        reasons: name of each dataset -> its most frequent reasons for rejected records.
        out: path or URL of the INDEX.

    Raises:
        InputError: a dataset has more bad records. What was indexed stays, for another run with a larger budget.
    """
    for name, dataset in index.datasets.items():
        read = sum(counts.read for counts in dataset.splits.values())
        found = Counter[str]()
        for counts in dataset.splits.values():
            found += Counter(counts.rejected)
        if budget.spent(found.total(), read):
            listed = ", ".join(f"{n} {reason}" for reason, n in found.most_common())
            raise InputError(
                f"{name}: {found.total()} of {read} records are bad ({listed}), more than --max-bad {budget.text}. "
                f"{told(reasons[name], out, name)}. Fix the source data, or rerun with a larger --max-bad"
            )
