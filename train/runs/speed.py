"""Measures how fast a run is, and whether its loader keeps up."""

import contextlib
import logging
import time
from collections.abc import Hashable, Iterator, Mapping

import jax

from train.costs import flops
from train.costs.dry_run import per_sample
from train.model import Batch
from train.setup import Setup

logger = logging.getLogger(__name__)
SLOW_LOADER = 0.2  # share of the time spent waiting for data above which a warning is due


class Clock:
    """Measures samples per second, MFU and the share of time spent waiting since the last lap. Compiling is counted apart."""

    def __init__(self, setup: Setup) -> None:
        self.begin, self.wait, self.step = time.monotonic(), 0.0, 0
        self.compiled: set[Hashable] = set()
        self.compile_seconds = 0.0
        self.batch_size, self.slow = setup.config.batch_size, 0
        self.cost = per_sample(setup).total
        peak = flops.peak(jax.devices()[0].device_kind)
        self.peak = peak * jax.device_count() if peak else None

    def waiting(self) -> "Clock":
        """Returns a context whose time counts as waiting."""
        return self

    def __enter__(self) -> None:
        self.entered = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.wait += time.monotonic() - self.entered

    def skip(self, seconds: float) -> None:
        """Leaves out time that was spent on something other than training."""
        self.begin += seconds

    @contextlib.contextmanager
    def compiling(self, what: str, program: Mapping[str, Hashable], rows: Batch) -> Iterator[None]:
        """A context in which a program runs. On its first run, logs that it is being compiled, and how long that took.

        Args:
            what: name of the program, for messages.
            program: settings that the program is compiled for.
            rows: batch of the step; the program is compiled for its shapes, too.
        """
        key = (what, tuple(program.items()), tuple((name, x.shape) for name, x in rows.items()))
        if key in self.compiled:
            yield
            return
        self.compiled.add(key)
        logger.info(f"compiling {what} for this machine (up to minutes, on a CPU or for a large model) ...")
        begin = time.monotonic()
        yield
        seconds = time.monotonic() - begin
        self.compile_seconds += seconds
        logger.info(f"compiled {what} in {seconds:.1f} s")

    def lap(self, step: int) -> dict[str, float]:
        """Returns the numbers since the last lap, and starts the next. Two laps in a row of waiting for data give a warning.

        The first lap has no speed: nobody knows how much of its time was compiling, and how much was the first step.
        """
        now, out = time.monotonic(), {}
        if self.compile_seconds:
            out["compile_seconds"] = self.compile_seconds
        if not self.step:
            self.begin, self.wait, self.step, self.compile_seconds = now, 0.0, step, 0.0
            return out
        seconds, steps = max(now - self.begin - self.compile_seconds, 1e-9), step - self.step
        rate, share = steps * self.batch_size / seconds, self.wait / seconds
        out |= {"samples_per_second": rate, "data_wait": share}
        if self.peak:
            out["mfu"] = rate * self.cost / self.peak
        self.slow = self.slow + 1 if share > SLOW_LOADER else 0
        if self.slow == 2:
            logger.warning(
                f"the loader is the bottleneck: {100 * share:.0f} % of the time is waiting for batches. Give it more cores "
                "(--data.threads), or build the shards with images of the model's size (resize: in the mixture)"
            )
        self.begin, self.wait, self.step, self.compile_seconds = now, 0.0, step, 0.0
        return out
