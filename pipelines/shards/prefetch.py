"""Work done ahead by threads, returned in the order in which it was asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int | None = None) -> Iterator[R]:
    """`map(work, items)` by `workers` threads, at most `ahead` results beyond the one that was taken.

    Args:
        work: done for each item.
        items: in their order.
        workers: 0 does the work where it is asked for.
        ahead: results that may wait, twice the workers by default.

    An error is raised where its result would have come. Leaving the loop stops the threads.

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
