"""How fast a run is, and whether its loader keeps up."""

import logging
import time

import jax

from train import flops
from train.dry_run import per_sample
from train.setup import Setup

logger = logging.getLogger(__name__)
SLOW_LOADER = 0.2  # share of the time spent waiting for data that deserves a word


class Clock:
    """Samples per second, MFU and share of time spent waiting since the last lap; the first (compiling) step is left out."""

    def __init__(self, setup: Setup) -> None:
        self.begin, self.wait, self.step = time.monotonic(), 0.0, 0
        self.batch_size, self.slow = setup.config.batch_size, 0
        self.cost = per_sample(setup).total
        peak = flops.peak(jax.devices()[0].device_kind)
        self.peak = peak * jax.device_count() if peak else None

    def waiting(self) -> "Clock":
        """A context whose time counts as waiting."""
        return self

    def __enter__(self) -> None:
        self.entered = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.wait += time.monotonic() - self.entered

    def skip(self, seconds: float) -> None:
        """Leaves out time that was spent on something else than training."""
        self.begin += seconds

    def lap(self, step: int) -> dict[str, float]:
        """Numbers since the last lap, and starts the next; says once when the loader is what the run waits for."""
        now = time.monotonic()
        seconds, steps = max(now - self.begin, 1e-9), step - self.step if self.step else 1
        rate, share = steps * self.batch_size / seconds, self.wait / seconds
        out = {"samples_per_second": rate, "data_wait": share}
        if self.peak:
            out["mfu"] = rate * self.cost / self.peak
        self.slow = self.slow + 1 if self.step and share > SLOW_LOADER else 0
        if self.slow == 2:
            logger.warning(
                f"the loader is the bottleneck: {100 * share:.0f} % of the time is waiting for batches. Give it more cores "
                "(--data.threads), or build the shards with images of the model's size (resize: in the mixture)"
            )
        self.begin, self.wait, self.step = now, 0.0, step
        return out
