"""Items made ahead in a thread: the same ones, errors in their place, and no thread that stays behind."""

import threading
from collections.abc import Generator

import pytest

from pipelines.common.decode_ahead import ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def counting(until: int, closed: list[int]) -> Generator[int, None, None]:
    try:
        yield from range(until)
        if until == 7:
            raise ValueError("seven")
    finally:
        closed.append(until)


def test_the_same_items_in_the_same_order() -> None:
    closed: list[int] = []
    for most in (1, 3, 100):
        assert list(ahead(counting(50, closed), most)) == list(range(50))
    assert list(ahead(counting(0, closed), 1)) == []
    assert closed == [50, 50, 50, 0]
    assert threads() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    closed: list[int] = []
    found: list[int] = []
    with pytest.raises(ValueError, match="seven"):
        found.extend(ahead(counting(7, closed), 2))
    assert (found, closed, threads()) == (list(range(7)), [7], 0)


def test_whoever_stops_early_ends_the_thread_and_never_waits_for_all() -> None:
    closed: list[int] = []
    made = ahead(counting(10**9, closed), 2)
    assert [next(made), next(made)] == [0, 1]
    made.close()
    assert (closed, threads()) == ([10**9], 0)
