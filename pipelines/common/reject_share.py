"""What the last line of `index` and `build` says about rejects: few read a table of many datasets, but all read that line."""

from collections.abc import Iterable, Mapping

WORTH_SAYING = 0.01  # share of the records read, or the rows planned, above which the last line names the rejects


def more_rejected(rejected: int, of: int) -> bool:
    """Returns whether so many are rejected that the last line says so.

    >>> more_rejected(1, 100), more_rejected(2, 100), more_rejected(0, 0)
    (False, True, False)
    """
    return rejected > WORTH_SAYING * of


def rejects_said(name: str, reasons: Mapping[str, int], of: int, unit: str) -> str:
    """Returns the rejects of a dataset or source in words, "" if they are few.

    Args:
        name: name of the dataset or source.
        reasons: reason -> number of rejects.
        of: number of records or rows in all, rejects included.
        unit: word for what is counted, such as "records".

    >>> rejects_said("arm", {"empty": 2, "video": 84}, 100, "records")
    '86 of 100 records of arm rejected (86 %), mostly: video'
    >>> rejects_said("arm", {"crc": 1}, 100, "records")
    ''
    """
    total = sum(reasons.values())
    if not more_rejected(total, of):
        return ""
    reason = min(reasons, key=lambda one: (-reasons[one], one))
    return f"{total:,} of {of:,} {unit} of {name} rejected ({100 * total / of:.3g} %), mostly: {reason}"


def joined(parts: Iterable[str]) -> str:
    """Joins the parts of a last line that are not empty.

    >>> joined(["INDEX a (digest b)", "", "next: c"])
    'INDEX a (digest b); next: c'
    """
    return "; ".join(part for part in parts if part)
