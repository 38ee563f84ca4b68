"""How long is left of a number of items, told by the items since the first new one, and not before they say anything."""

import time

WARM_UP_SECONDS = 2.0  # from the first new item on, before anything is said about the rest


class Pace:
    """Estimates what is left.

    What comes before the first new item happens once (opening files, compiling), and what was done already took no time now, so
    neither counts. Nothing is said before the warm-up is over: `WARM_UP_SECONDS`, and one more item at least.

    >>> pace = Pace(already=90)
    >>> pace.add(1, now=60.0), pace.left(190, now=60.0)
    (None, None)
    >>> pace.add(4, now=64.0), pace.left(190, now=64.0)
    (None, 95.0)
    """

    def __init__(self, already: int = 0) -> None:
        self.done = already
        self._first: tuple[float, int] | None = None  # when a new item was first done, and how many were done then

    def add(self, n: int, now: float | None = None) -> None:
        """Counts items.

        Args:
            n: how many more are done; 0 changes nothing.
            now: seconds of a clock that never goes back; `time.monotonic` by default.
        """
        self.done += n
        if n and self._first is None:
            self._first = (time.monotonic() if now is None else now, self.done)

    def left(self, total: int | None, now: float | None = None) -> float | None:
        """Seconds until all is done; None if nothing can be said yet, or the total is not known.

        Args:
            total: all items, those that were done before included.
            now: as for `add`.
        """
        if self._first is None or not total:
            return None
        since, before = self._first
        passed = (time.monotonic() if now is None else now) - since
        if self.done == before or passed < WARM_UP_SECONDS:
            return None
        return passed / (self.done - before) * max(0, total - self.done)
