"""Computes requests of several connections together, and in a fair order.

    waiting    a1  b1  c2  d1    letter: connection; number: kind of request; only requests of one kind are computed together
    next       a1  b1      d1    the request that came first, with others of its kind, up to `most` requests

A connection has one request here at a time. So after each answer, a client that asks fast is behind all others in the queue: of
two connections, the slower one waits for the inference that is running and for its own, never for more.

Clients that have just got an answer often ask again within a moment, one a little later than the other. Without waiting, of eight
equal clients one would be computed alone and seven together, again and again. So if a batch has room for more requests, the next
inference waits a little for the clients that got the last answers.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from fasttok.errors import InputError

logger = logging.getLogger(__name__)
LONGEST_WAIT = 0.01  # seconds to wait for clients that got the last answers
WAIT_SHARE = 0.2  # and at most this share of the time of the last inference
Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Finished(Generic[Result]):
    """The result of one work (a request), and how it was computed.

    Attributes:
        result: result of the work.
        queued: seconds that the work waited for its turn.
        computed: seconds that the inference took, for all works of the batch.
        together: number of works in the batch, including this one.
    """

    result: Result
    queued: float
    computed: float
    together: int


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Work, Result]):
    work: Work
    since: float
    done: "asyncio.Future[Finished[Result] | Exception]"


class FairBatcher(Generic[Work, Result]):
    """Computes works in one thread, in the order in which they came, and works of one kind together.

    Args:
        compute: works of one kind -> for each work, a result or an exception.
        most: maximum number of works that `compute` takes at once.
        kind: work -> its kind, which is equal for works that can be computed together.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        most: int,
        kind: Callable[[Work], Hashable],
    ) -> None:
        self.compute, self.most, self.kind = compute, most, kind
        self.waiting: deque[_Waiting[Work, Result]] = deque()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self.running: asyncio.Task[None] | None = None
        self._owed = 0  # works of the last inference, minus works that came since: clients that may soon ask again
        self._seconds = 0.0  # time of the last inference
        self._came = asyncio.Event()

    async def submit(self, work: Work) -> Finished[Result]:
        """Computes a work and returns its result. Cancelling this removes the work, unless it is already being computed.

        Raises:
            Exception: the exception that `compute` returned or raised instead of a result.
        """
        waiting: _Waiting[Work, Result] = _Waiting(work, time.monotonic(), asyncio.get_running_loop().create_future())
        self.waiting.append(waiting)
        self._owed = max(0, self._owed - 1)
        self._came.set()
        if self.running is None:
            self.running = asyncio.create_task(self._run())
        try:
            came = await waiting.done
        finally:
            if waiting in self.waiting:  # this was cancelled
                self.waiting.remove(waiting)
        if isinstance(came, Exception):
            raise came
        return came

    @property
    def idle(self) -> bool:
        """True if nothing waits and nothing is computed."""
        return self.running is None

    def close(self) -> None:
        """Ends the thread, after the inference that is running."""
        self.thread.shutdown(wait=True, cancel_futures=True)

    def _next(self) -> "list[_Waiting[Work, Result]]":
        """Takes the work that came first, and others of its kind, out of the queue, in the order in which they came."""
        kind = self.kind(self.waiting[0].work)
        chosen = [one for one in self.waiting if self.kind(one.work) == kind][: self.most]
        for one in chosen:
            self.waiting.remove(one)
        return chosen

    async def _gather(self) -> None:
        """Waits a little for clients that got the last answers, while the batch has room for them."""
        until = time.monotonic() + min(LONGEST_WAIT, WAIT_SHARE * self._seconds)
        while self._owed and 0 < len(self.waiting) < self.most and (left := until - time.monotonic()) > 0:
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), left)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            await self._gather()
            if not self.waiting:  # the clients that waited are gone
                break
            chosen = self._next()
            began = time.monotonic()
            results = await loop.run_in_executor(self.thread, self._computed, [one.work for one in chosen])
            seconds = self._seconds = time.monotonic() - began
            self._owed = len(chosen)
            for one, result in zip(chosen, results, strict=True):
                if one.done.done():  # its connection is gone
                    continue
                if isinstance(result, Exception):
                    one.done.set_result(result)
                else:
                    one.done.set_result(Finished(result, began - one.since, seconds, len(chosen)))
        self.running = None

    def _computed(self, works: list[Work]) -> Sequence[Result | Exception]:
        """Returns one result or exception per work, whatever `compute` does."""
        try:
            results = self.compute(works)
            if len(results) != len(works):
                raise RuntimeError(f"{len(works)} works gave {len(results)} results")
            return results
        except InputError as error:
            return [error] * len(works)
        except Exception as error:
            logger.exception(f"an inference failed for {len(works)} requests")
            return [RuntimeError(f"{type(error).__name__}")] * len(works)
