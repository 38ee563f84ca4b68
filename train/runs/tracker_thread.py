"""Runs other projects' trackers in threads, so that training goes on whatever they do and however long they take."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)
Numbers = dict[str, float]  # the numbers of one logged step by name, among them `step`, an int
OPEN_SECONDS = 90.0  # longest time that a run waits for a tracker to start; then training begins anyway
CLOSE_SECONDS = 75.0  # longest time that a run waits at its end for a tracker to send the remaining rows
STUCK_SECONDS = 120.0  # time that a tracker may spend on one row before a warning
WAITING_ROWS = 10_000  # rows that a slow tracker may be behind; a row is a few hundred bytes


class Tracker(Protocol):
    """Takes the numbers of one step after the other."""

    def log(self, row: Numbers) -> None:
        """Takes the numbers of one step."""
        ...

    def close(self) -> None:
        """Closes what is open."""
        ...


class TrackerThread:
    """Opens, uses and closes a tracker in a thread. If it fails, one warning says so, and it gets no more rows."""

    def __init__(self, name: str, start: Callable[[], Tracker]) -> None:
        """Opens the tracker, and waits a while for it, so that a question that it asks is the last thing on the screen.

        Args:
            name: for messages.
            start: opens the tracker; called in the thread.
        """
        self.name, self.start = name, start
        self.rows: queue.Queue[Numbers | None] = queue.Queue(WAITING_ROWS)
        self.opened, self.warned = threading.Event(), False
        self.failed = False
        self.busy_since: float | None = None
        self.thread = threading.Thread(target=self._work, daemon=True, name=f"tracker {name}")
        self.thread.start()
        if not self.opened.wait(OPEN_SECONDS):
            logger.warning(f"{name} has not started after {OPEN_SECONDS:g} s; training goes on meanwhile")

    def log(self, row: Numbers) -> None:
        """Passes a row to the thread, without waiting."""
        if self.failed:
            return
        try:
            self.rows.put_nowait(dict(row))
        except queue.Full:
            self._warn(f"{self.name} does not keep up, so it does not get every row; metrics.jsonl has them")
        since = self.busy_since
        if since is not None and time.monotonic() - since > STUCK_SECONDS:
            self._warn(
                f"{self.name} has been busy with one row for {STUCK_SECONDS:g} s; training goes on, metrics.jsonl has every row"
            )

    def close(self) -> None:
        """Waits until the tracker has all rows and has closed, for at most `CLOSE_SECONDS`."""
        if self.failed:
            return
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            self.rows.put(None, timeout=CLOSE_SECONDS)
            self.thread.join(max(0.0, deadline - time.monotonic()))
        except queue.Full:
            pass
        if self.thread.is_alive():
            logger.warning(
                f"{self.name} had not finished {CLOSE_SECONDS:g} s after the last step, and is left; metrics.jsonl has every row"
            )

    def _warn(self, message: str) -> None:
        """Logs the first warning; later ones are dropped."""
        if not self.warned:
            logger.warning(message)
        self.warned = True

    def _work(self) -> None:
        doing = "could not start"
        try:
            tracker = self.start()
            self.opened.set()
            doing = "failed"
            while (row := self.rows.get()) is not None:
                self.busy_since = time.monotonic()
                tracker.log(row)
                self.busy_since = None
            doing = "failed at its end"
            tracker.close()
        except Exception as error:  # other people's services: nothing that they do may end a run
            self.failed = True
            why = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            logger.warning(
                f"{self.name} {doing}: {why}. Training goes on without it; metrics.jsonl has every row, and --resume tries again"
            )
        finally:
            self.opened.set()
