"""The benchmark of training steps runs, and what it compares are the same numbers."""

import numpy as np
import pytest

from benchmarks.train_step import BenchConfig, main


@pytest.mark.slow
def test_two_attention_calls_are_one_and_every_variant_runs() -> None:
    tables = main(BenchConfig(smoke=True, only=("ki", "joint, 4 draws", "frozen backbone, flow only")))
    steps, gradients = tables.values()
    assert [row["variant"] for row in steps] == ["ki", "frozen backbone, flow only", "joint, 4 draws"]
    assert all(np.isfinite(row["samples/s"]) and row["compiled GiB"] > 0 for row in steps)
    for row in gradients:
        assert float(row["loss differs by"]) < 1e-5
        assert float(row["gradients differ by"]) < 1e-4
