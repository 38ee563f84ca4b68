"""The command fasttok-train report RUN [RUN ...] --out PAGE."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fasttok.common.console import log, write_text
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.common.typed import typed_command
from fasttok.errors import InputError
from train.report.report_page import document
from train.report.run_log import read_runs
from train.runs.run_folder import REPORT

NAME = "report"


@dataclass(frozen=True)
class ReportConfig:
    """Makes a page of what one or several runs have logged: losses, held-out numbers, gradient norms, speed and settings.

    The runs may still be training, and the page needs no network. Example: fasttok-train report RUN OTHER_RUN --out report.html
    """

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)")
    ]
    """Folders of runs, from `fasttok-train`. Give several to compare them."""
    out: Maybe[Path] = None
    """HTML file for the page. By default report.html in the folder of the first run, which replaces an earlier report there.
    Use it when you want to keep the page, or cannot write to that folder."""
    overwrite: bool = False
    """Replace the file --out. Use it when you draw the same page again."""


def report(config: ReportConfig) -> Path:
    """Writes the page, and prints its path.

    Raises:
        InputError: no run is given, a folder is not a run, or the file already exists.
    """
    if not config.runs:
        raise InputError("no run to report on; example: fasttok-train report RUN --out report.html")
    runs = read_runs(config.runs)
    out = config.out or config.runs[0] / REPORT
    reads = [path for run in config.runs for path in run.iterdir() if path.is_file() and path.name != REPORT]
    check_output_file(out, reads, overwrite=config.overwrite or config.out is None)
    write_text(out, document(runs, typed_command()))
    log(f"{', '.join(run.name for run in runs)} -> {out}")
    return out


def command(words: list[str]) -> None:
    """Runs the command with the words after `report`."""
    report(tyro.cli(ReportConfig, prog=f"fasttok-train {NAME}", args=words))
