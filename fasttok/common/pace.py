"""Estimates how long the remaining items of a job take."""

import time

WARM_UP_SECONDS = 2.0  # after the first new item, before there is an estimate


class Pace:
    """Estimates the time that is left, from the items since the first new one.

    Two things do not count: the time before the first new item, because what happens then happens once (opening files,
    compiling), and the items that were done already, because they took no time now. There is no estimate during the warm-up,
    which lasts `WARM_UP_SECONDS` and at least one more item.

    With `began`, the time before the first new item counts, too. That is right for few, long items that run side by side: the
    first two are done at nearly the same time, and the time between them says nothing.

    >>> pace = Pace(already=90)
    >>> pace.add(1, now=60.0), pace.left(190, now=60.0)
    (None, None)
    >>> pace.add(4, now=64.0), pace.left(190, now=64.0)
    (None, 95.0)
    >>> runs = Pace(began=0.0)
    >>> runs.add(2, now=1000.0), runs.left(12, now=1000.0)
    (None, 5000.0)
    """

    def __init__(self, already: int = 0, began: float | None = None) -> None:
        self.done = already
        # From when items count, and how many were done then: from the first new one, if it is not known when they began.
        self._first: tuple[float, int] | None = None if began is None else (began, already)

    def add(self, n: int, now: float | None = None) -> None:
        """Counts items.

        Args:
            n: how many more items are done; 0 changes nothing.
            now: seconds of a clock that never goes back; None for `time.monotonic`.
        """
        self.done += n
        if n and self._first is None:
            self._first = (time.monotonic() if now is None else now, self.done)

    def left(self, total: int | None, now: float | None = None) -> float | None:
        """Returns the seconds until all items are done; None if there is no estimate yet, or the total is not known.

        Args:
            total: number of all items, including those that were done before; None if it is not known.
            now: see `add`.
        """
        if self._first is None or not total:
            return None
        since, before = self._first
        passed = (time.monotonic() if now is None else now) - since
        if self.done == before or passed < WARM_UP_SECONDS:
            return None
        return passed / (self.done - before) * max(0, total - self.done)
