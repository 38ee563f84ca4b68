"""An iterator whose items are made in a thread while the ones before are used: decoding beside encoding."""

import queue
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class _End(Generic[T]):
    """The end of the items, and the error that ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Generator[T, None, None], most: int) -> Generator[T, None, None]:
    """The same items in the same order; errors arrive where they happened. Whoever stops early stops the thread, too.

    Args:
        items: are made and closed in the thread.
        most: items that wait at a time.

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
        except BaseException as error:  # the reader's to raise
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
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                waiting.get(timeout=0.01)
