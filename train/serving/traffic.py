"""Counts a server's requests, and sums up the latest ones in a line. Imports no JAX."""

import numpy as np


class Traffic:
    """Counts requests.

    Attributes:
        answered: number of answers since the server began.
        refused: number of requests since the server began that got an error.
    """

    def __init__(self) -> None:
        self.answered = self.refused = 0
        self._seconds: list[float] = []
        self._inferences = 0.0
        self._refused_before = 0

    def answer(self, seconds: float, together: int) -> None:
        """Counts an answer.

        Args:
            seconds: time from the request to the answer.
            together: number of requests that were computed at once, including this one.
        """
        self.answered += 1
        self._seconds.append(seconds)
        self._inferences += 1 / together

    def refuse(self) -> None:
        """Counts an error."""
        self.refused += 1

    def line(self) -> str:
        """Returns a line about the requests since the last line; "" if there were none.

        >>> traffic = Traffic()
        >>> for seconds in (0.02, 0.04):
        ...     traffic.answer(seconds, 2)
        >>> traffic.line()
        '2 requests, p50 30 ms, p95 39 ms, 2.0 per inference'
        >>> traffic.line()
        ''
        """
        seconds, errors = self._seconds, self.refused - self._refused_before
        said = []
        if seconds:
            p50, p95 = 1000 * np.percentile(seconds, (50, 95))
            said += [f"{len(seconds)} requests", f"p50 {p50:.0f} ms", f"p95 {p95:.0f} ms"]
            said.append(f"{len(seconds) / self._inferences:.1f} per inference")
        if errors:
            said.append(f"{errors} refused with an error")
        self._seconds, self._inferences, self._refused_before = [], 0.0, self.refused
        return ", ".join(said)
