"""Makes the items of an iterator in a thread, while earlier items are used: one image is decoded while another is encoded."""

import queue
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class _End(Generic[T]):
    """Marks the end of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Generator[T, None, None], most: int) -> Generator[T, None, None]:
    """Yields the same items in the same order; an error is raised after the items before it. If you stop early, the thread stops.

    Args:
        items: generator that runs, and is closed, in the thread.
        most: maximum number of items that wait to be used.

    >>> list(ahead((i for i in range(3)), 2))
    [0, 1, 2]
    """
    waiting: queue.Queue[T | _End[T]] = queue.Queue(most)
    left = threading.Event()

    def fill() -> None:
        try:
            with closing(items):
                for item in items:
                    waiting.put(item)
                    if left.is_set():
                        return
            waiting.put(_End())
        except BaseException as error:  # raised by the reader of the queue
            waiting.put(_End(error))

    thread = threading.Thread(target=fill, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        left.set()
        while thread.is_alive():  # it may be waiting for room in the queue
            with suppress(queue.Empty):
                waiting.get(timeout=0.01)
