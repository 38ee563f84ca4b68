"""`fasttok-pipelines check DATASET`: checks recordings in minutes, before any shards are built."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from fasttok.common.console import emit_json
from fasttok.common.flags import OPTIONAL
from fasttok.common.typed import typed_command
from fasttok.errors import InputError
from pipelines.check.check_page import check_page_of
from pipelines.check.dataset_findings import SEVERITIES, Severity
from pipelines.check.diagnose import Diagnosis, diagnose, summary
from pipelines.look.page_files import PagePath, check_page, page_path, write_page


@dataclass(frozen=True)
class CheckConfig:
    """Checks recordings of a robot before anything is built: counts, times, dims, outliers, grippers, instructions, cameras.

    It also measures whether actions are absolute values, deltas or velocities. It reads RLDS, LeRobot, HDF5, npz and Parquet.
    Errors make the command fail; warnings do so only with --strict.

    Example: fasttok-pipelines check data/tabletop_arm/1.0.0 --html
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """Folder or file of the dataset."""
    entries: Annotated[tuple[str, ...], OPTIONAL] = ()
    """YAML files of dataset entries, or folders of them. An entry says what a dataset's features mean.
    These are used before DATASET/dataset.yaml and the packaged entries."""
    splits: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Splits to check. By default all; of HDF5, only `train` and held-out splits such as `val`."""
    episodes: int = 500
    """Maximum number of episodes to check. They are spread evenly over splits and files."""
    cameras: bool = True
    """Decode and check a few frames of each camera. Use --no-cameras to skip all checks of cameras."""
    strict: bool = False
    """Fail on warnings too. Use it in CI."""
    html: PagePath = None
    """Also write a page that draws the worst cases, as one file that loads nothing else.
    Without FILE it is NAME.check.html in the current folder."""
    overwrite: bool = False
    """Replace the --html page if it exists."""
    json: bool = False
    """Print the findings as JSON on stdout."""


def run_check(config: CheckConfig) -> None:
    """Checks a dataset and prints what was found.

    Raises:
        InputError: there are errors, or warnings under --strict, or no dataset is found.
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
    """Returns what --json prints.

    Args:
        found: result of all checks.
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
