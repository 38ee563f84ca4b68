"""`fasttok-pipelines check DATASET`: a doctor for recordings, who needs no shards and takes minutes."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from fasttok.common.console import emit_json
from fasttok.common.typed import typed_command
from fasttok.errors import InputError
from pipelines.check.check_page import check_page_of
from pipelines.check.dataset_findings import SEVERITIES, Severity
from pipelines.check.diagnose import Diagnosis, diagnose, summary
from pipelines.look.page_files import PagePath, check_page, page_path, write_page


@dataclass(frozen=True)
class CheckConfig:
    """Checks recordings before anything is built: counts, time stamps, dims, outliers, action against state, grippers, cameras.

    Reads RLDS, LeRobot, HDF5, npz and parquet. Errors make it fail; warnings only with --strict.

    Example: fasttok-pipelines check data/tabletop_arm/1.0.0 --html
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """The dataset's folder or file."""
    entries: tuple[str, ...] = ()
    """YAML files or folders of dataset entries, which come before DATASET/dataset.yaml and the packaged ones."""
    splits: tuple[str, ...] = ()
    """Splits to check; all by default."""
    episodes: int = 500
    """Maximum number of episodes to check, spread over splits and files."""
    cameras: bool = True
    """Look at a few frames of each camera."""
    strict: bool = False
    """Fail on warnings too."""
    html: PagePath = None
    """Also write one self-contained page with the worst cases drawn; without FILE it is NAME.check.html in the current folder."""
    overwrite: bool = False
    """Replace the page --html."""
    json: bool = False
    """Print the findings as JSON on stdout."""


def run_check(config: CheckConfig) -> None:
    """Checks a dataset and prints what was found.

    Raises:
        InputError: there are errors, or warnings under --strict; or there is no dataset.
    """
    if config.episodes < 1:
        raise InputError(f"--episodes is {config.episodes}, expected at least 1")
    page = page_path(config.html, config.dataset, "check")
    check_page(page, config.dataset, overwrite=config.overwrite)
    start = time.monotonic()
    found = diagnose(config.dataset, config.entries, config.splits, config.episodes, config.cameras)
    counts = {severity: sum(f.severity == severity for f in found.findings) for severity in SEVERITIES}
    words = ", ".join(f"{counts[severity]} {severity}(s)" for severity in SEVERITIES)
    if page is not None:
        write_page(page, check_page_of(found, typed_command()))
    if config.json:
        emit_json(as_json(found, counts))
    else:
        for finding in found.findings:
            print(finding)
        print(f"{summary(found)}, {time.monotonic() - start:.0f} s; {words}")
        if page is not None:
            print(page)
    if counts["error"] or (config.strict and counts["warning"]):
        raise InputError(f"{config.dataset}: {words}")


def as_json(found: Diagnosis, counts: Mapping[Severity, int]) -> dict[str, object]:
    """What --json prints.

    Args:
        found: what the doctor says.
        counts: severity -> number of findings.
    """
    return {
        "dataset": found.dataset.path,
        "format": found.dataset.form,
        "entry": found.entry.name if found.entry is not None else None,
        "episodes_read": found.read,
        "episodes_checked": len(found.sample.episodes),
        "steps": sum(len(episode.action) for episode in found.sample.episodes),
        "rejected": found.rejected,
        "counts": counts,
        "findings": [
            {
                "severity": finding.severity,
                "check": finding.check,
                "place": asdict(finding.place),
                "what": finding.what,
                "todo": finding.todo,
                "entry": finding.entry,
                "count": finding.count,
            }
            for finding in found.findings
        ],
        "action": [
            {"dim": str(column), **asdict(dim)}
            for column, dim in zip(found.sample.columns.action, found.meanings, strict=True)
        ],
    }
