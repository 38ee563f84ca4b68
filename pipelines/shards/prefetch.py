"""Does work ahead in threads, and returns the results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int | None = None) -> Iterator[R]:
    """Yields `map(work, items)`, computed by threads, up to `ahead` results beyond the one that was yielded.

    An error is raised in the place of its result. If you leave the loop, the threads stop.

    Args:
        work: function of one item.
        items: items in their order.
        workers: number of threads; 0 does the work in the thread that asks for a result.
        ahead: number of results that may wait, at least 1; None for twice the workers.

    >>> list(in_order(abs, [-1, -2, -3], workers=2))
    [1, 2, 3]
    """
    if workers < 1:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    most = max(2 * workers if ahead is None else ahead, 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="shards")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
