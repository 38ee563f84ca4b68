"""Prints the results of `fasttok eval`."""

from fasttok.cli.error_table import print_errors
from fasttok.common.console import log, table
from fasttok.evaluation.eval_page import RateCurves, standing
from fasttok.evaluation.eval_tables import TABLES, summary
from fasttok.evaluation.measured import Measured
from fasttok.evaluation.metrics import Cell


def print_eval(
    rows: list[dict[str, Cell]], measured: dict[str, Measured], curves: RateCurves, note: str, measured_on: str
) -> None:
    """Prints all that was measured: tables on stdout, and on stderr sentences that say what they mean."""
    table(f"tokens per chunk, {measured_on}", list(rows[0]), [list(row.values()) for row in rows])
    for shown in TABLES:
        lines = shown.rows(measured)
        if lines:
            table(shown.title, shown.columns, lines)
    print_errors({name: m.metrics for name, m in measured.items()})
    for name, m in measured.items():
        if m.metrics.clamped:
            log(
                f"{name}: {100 * m.metrics.clamped:.3g} % of the coefficients are outside the tokenizer's range; clamped"
            )
    for name, m in measured.items():
        for line in summary(name, m):
            log(line)
    if curves.fits:
        columns = ["embodiment", "scale", "vocabulary", "tokens per chunk", "rms error (normalised)"]
        table("rate against distortion, native fits", columns, [list(vars(p).values()) for p in curves.fits])
        table("rate against distortion, this tokenizer", columns, [list(vars(p).values()) for p in curves.own])
        for own in curves.own:
            log(standing(own, curves.fits))
    if note:
        log(note)
