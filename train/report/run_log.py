"""Reads what a report shows of a run: its settings, the rows logged so far, and the commands that trained it. Imports no JAX.

The run may still be training, or may have been killed, so a last line that is cut short is left out.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, refused
from train.config import TrainConfig
from train.presets import get_preset
from train.runs.run_folder import METRICS, load_config
from train.runs.sessions import Session, sessions_of
from train.runs.settings import as_words, settings
from train.runs.tracker import of_something

MOST_STEPS = 1 << 53
PLACES = {
    "out", "shards", "held_out", "preset", "size", "resume", "resume_with", "overwrite", "dry_run", "distributed", "init_from",
    "weights", "data.tokenizer", "data.text_tokenizer", "trackers",
}  # fmt: skip
"""Settings that only say where things are or how the run starts, and nothing about what is computed."""
FROM_SHARDS = {
    "model.vocab_size", "model.horizon", "model.action_dim", "model.state_dim", "model.cameras", "data.text_length",
}  # fmt: skip
"""Settings whose values come from the shards."""
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunLog:
    """A run that has begun.

    Attributes:
        name: name in legends; no other run of the report has the same.
        folder: folder of the run (RUN).
        config: settings of the run.
        rows: rows of metrics.jsonl, by ascending step; only their numbers, without means of nothing.
        sessions: commands that trained the run.
        written: time at which the last row was written, in local time; None without rows.
    """

    name: str
    folder: Path
    config: TrainConfig
    rows: Sequence[Mapping[str, float]]
    sessions: Sequence[Session]
    written: datetime | None

    @property
    def step(self) -> int:
        """Step of the last row; 0 without rows."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def done(self) -> bool:
        """True if all steps are done."""
        return self.step >= self.config.steps

    @property
    def names(self) -> list[str]:
        """Names of all numbers that any row has, in the order in which they first occur."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "step"))

    def curve(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Returns the steps and values of a number, (n,) each, from the rows in which it is finite."""
        points = [(row["step"], row[name]) for row in self.rows if name in row and math.isfinite(row[name])]
        steps, values = np.array(points, float).reshape(-1, 2).T
        return steps, values

    def last(self, name: str) -> float | None:
        """Returns the newest finite value of a number; None if there is none."""
        _, values = self.curve(name)
        return float(values[-1]) if len(values) else None

    def own_settings(self) -> dict[str, tuple[str, str]]:
        """Returns the settings that differ from the preset of the same size: name -> (the run's value, the preset's value)."""
        ours = settings(self.config)
        try:
            theirs = settings(get_preset(self.config.preset, self.config.size))
        except InputError:  # the preset is from another version
            return {}
        names = [name for name in ours if name not in PLACES | FROM_SHARDS and ours[name] != theirs.get(name)]
        return {name: (as_words(ours[name]), as_words(theirs.get(name))) for name in names}


def read_runs(folders: Sequence[Path]) -> list[RunLog]:
    """Reads the runs of a report.

    Args:
        folders: folders of the runs.

    Raises:
        InputError: a folder is not a run, or is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, real in zip(folders, resolved, strict=True):
        if resolved.count(real) > 1:
            raise InputError(f"{folder} is given twice; name each run once")
    return [_read(folder, name) for folder, name in zip(folders, _names(resolved), strict=True)]


def _read(folder: Path, name: str) -> RunLog:
    config, file = load_config(folder), folder / METRICS
    if file.is_file() and not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file} leads out of {folder}, so it is not read; expected a file of the run's own")
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC).astimezone() if text else None
    except OSError as error:
        raise refused(error) from None
    rows: dict[int, dict[str, float]] = {}
    for line in text.splitlines():
        row = _row(line)
        if row is not None:
            rows[int(row["step"])] = of_something(row)  # if a step was computed again, the last row counts
    ordered = [rows[step] for step in sorted(rows)]
    return RunLog(name, folder, config, ordered, sessions_of(folder), written if rows else None)


def _row(line: str) -> dict[str, float] | None:
    """Returns the numbers of a line, with NaN for null; None if the line is not a row."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    numbers = {name: math.nan if value is None else value for name, value in raw.items()}
    row = {name: float(value) for name, value in numbers.items() if type(value) is float or _whole(value)}
    return row if _whole(raw.get("step")) and row["step"] >= 0 else None


def _whole(value: object) -> bool:
    return type(value) is int and abs(value) < MOST_STEPS


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of the paths that tell the runs apart.

    >>> _names([Path("/a/ki"), Path("/b/ki")]), _names([Path("/a/ki"), Path("/a/pi0")])
    (['a/ki', 'b/ki'], ['ki', 'pi0'])
    """
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
