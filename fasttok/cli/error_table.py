"""The table of round-trip errors that `fasttok fit` and `fasttok eval` print."""

from collections.abc import Mapping

from fasttok.common.console import table
from fasttok.evaluation.metrics import Metrics, error_rows


def print_errors(metrics: Mapping[str, Metrics]) -> None:
    """The round trip's error per dim."""
    table("round-trip error in raw units", ["embodiment", "dim", "rms", "max", "normalised by"], error_rows(metrics))
