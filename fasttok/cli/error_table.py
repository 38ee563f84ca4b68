"""Prints the table of round-trip errors for `fasttok fit` and `fasttok eval`."""

from collections.abc import Mapping

from fasttok.common.console import table
from fasttok.evaluation.metrics import Metrics, error_rows


def print_errors(metrics: Mapping[str, Metrics]) -> None:
    """Prints the error of encoding and decoding for each dim."""
    table("round-trip error in raw units", ["embodiment", "dim", "rms", "max", "normalised by"], error_rows(metrics))
