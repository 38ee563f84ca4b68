"""Stops a run whose loss or gradient norm is not finite, and saves the batch that caused it."""

from pathlib import Path

import jax
import numpy as np

from fasttok.errors import InputError
from train.losses import Metrics
from train.prefetch import PrefetchedBatch


class FiniteLosses:
    """Stops a run whose loss or gradient norm is not finite, and saves the batch.

    Each step is checked one step late, so that the device never waits for the check.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.pending: tuple[int, Metrics, PrefetchedBatch] | None = None

    def check(self, step: int, metrics: Metrics, batch: PrefetchedBatch) -> None:
        """Checks the previous step, and remembers this one."""
        self.check_now()
        self.pending = step, metrics, batch

    def check_now(self) -> None:
        """Checks the remembered step.

        Raises:
            InputError: a loss or a gradient norm is not finite. The message names it, the step and the file with the batch.
        """
        if self.pending is None:
            return
        step, metrics, batch = self.pending
        self.pending = None
        names = [name for name in metrics if name.startswith(("loss", "grad_norm"))]
        bad = [name for name in names if not np.isfinite(float(metrics[name]))]
        if bad:
            # Each process has other rows of the batch.
            own = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
            file = self.run / f"not_finite_step_{step}{own}.npz"
            np.savez_compressed(file, sample_ids=np.array(batch.sample_ids), **batch.batch)  # type: ignore[arg-type]
            raise InputError(
                f"{', '.join(bad)} is not finite at step {step}; its batch and sample ids are in {file}. Lower "
                "--optim.learning-rate or --optim.clip, and check the shards with: fasttok-pipelines lint"
            )
