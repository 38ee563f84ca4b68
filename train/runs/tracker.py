"""Writes the numbers of a run: always to metrics.jsonl, and to TensorBoard and W&B if asked for.

A run that resumes removes the numbers after its checkpoint from metrics.jsonl and TensorBoard, as it writes them again.
"""

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from fasttok.common.console import write_text
from fasttok.errors import InputError, require, unknown_name
from train.config import TrainConfig
from train.runs.run_folder import METRICS
from train.runs.sessions import add_session
from train.runs.tracker_thread import Numbers, Tracker, TrackerThread

TrackerName = Literal["tensorboard", "wandb"]
NAMES: tuple[TrackerName, ...] = get_args(TrackerName)
GROUPS = ("held_out", "loss", "ce", "n", "grad_norm")  # groups in TensorBoard: loss_vlm becomes loss/vlm
HELD_OUT = re.compile(r"held_out_(ce_\w+|nrmse|loss_(?!vlm|fast)\w+)")  # the held-out numbers in the line for people
NORMS = ("backbone", "expert", "action")  # components whose gradient norms that line shows
WANDB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# W&B's own settings, unless its environment variable (WANDB_CONSOLE, ...) is set: W&B should get numbers and settings, but
# neither the terminal's text nor the state of the git repository in which the command was started.
WANDB_SETTINGS: dict[str, str | bool | float] = {
    "console": "off", "disable_git": True, "save_code": False, "init_timeout": 60.0, "finish_timeout": 60.0,
}  # fmt: skip


def line(row: Numbers) -> str:
    """Formats a row as a line for people: the losses that the batch had data for, gradient norms, and the speed once it is known.

    >>> line({"step": 1, "loss_vlm": 0.0, "n_vlm": 0, "loss_flow": 0.5, "grad_norm_backbone": 2.0, "grad_norm_expert": 1.0})
    'flow 0.500  |g| backbone 2.00 expert 1.00'
    >>> line({"step": 20, "loss_fast": 2.5, "n_fast": 9, "samples_per_second": 90.4, "data_wait": 0.02})
    'fast 2.500  90 samples/s  wait 2 %'
    """
    losses = [name[5:] for name in row if name.startswith("loss_") and row.get(f"n_{name[5:]}", 1)]
    losses.sort(key=lambda name: ("vlm", "fast", "flow").index(name) if name in ("vlm", "fast", "flow") else 3)
    norms = [f"{name} {row[f'grad_norm_{name}']:.2f}" for name in NORMS if f"grad_norm_{name}" in row]
    words = [f"{name} {row[f'loss_{name}']:.3f}" for name in losses] + (["|g| " + " ".join(norms)] if norms else [])
    words += [f"{row['samples_per_second']:.0f} samples/s"] if "samples_per_second" in row else []
    words += [
        f"{said} {100 * row[name]:.0f} %" for name, said in (("mfu", "MFU"), ("data_wait", "wait")) if name in row
    ]
    held = [f"{name[9:]} {row[name]:.3f}" for name in row if HELD_OUT.fullmatch(name)]
    return "  ".join([*words, *([f"held-out: {'  '.join(held)}"] if held else [])])


def of_something(row: Mapping[str, float]) -> Numbers:
    """Returns a row without means of nothing: a batch without such tokens or actions has logged 0 for them, with a count of 0.

    `loss_vlm` and `loss_fast` stay, because they are sums: parts of one cross-entropy.

    >>> of_something({"ce_vlm": 0.0, "n_vlm": 0, "loss_vlm": 0.0, "ce_fast": 2.0, "n_fast": 7, "loss_flow": 0.0, "n_flow": 0})
    {'n_vlm': 0, 'loss_vlm': 0.0, 'ce_fast': 2.0, 'n_fast': 7, 'n_flow': 0}
    """
    nothing = {name.removeprefix("n_") for name, value in row.items() if name.startswith("n_") and not value}
    left_out = {f"ce_{name}" for name in nothing} | {f"loss_{name}" for name in nothing - {"vlm", "fast"}}
    return {name: value for name, value in row.items() if name not in left_out}


class JsonLines:
    """Appends lines to RUN/metrics.jsonl."""

    def __init__(self, run: Path, from_step: int) -> None:
        self.path = run / METRICS
        kept = [line + "\n" for line, row in _lines(self.path) if row["step"] <= from_step]
        write_text(self.path, "".join(kept))

    def log(self, row: Numbers) -> None:
        """Appends one line, which is on disk when this returns. JSON has no NaN, so a number that is not finite is null."""
        written = {name: value if math.isfinite(value) else None for name, value in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(written) + "\n")

    def close(self) -> None:
        """Does nothing: no file stays open."""


class TensorBoard:
    """Writes RUN/tensorboard with tensorboardX; loss_vlm becomes loss/vlm."""

    def __init__(self, run: Path, from_step: int) -> None:
        writer = require("tensorboardX", "track", "--trackers tensorboard")
        self.writer = writer.SummaryWriter(str(run / "tensorboard"), purge_step=from_step + 1)
        # Otherwise its queue, which nobody empties after an error, keeps the process from ending.
        with contextlib.suppress(AttributeError):
            self.writer.file_writer.event_writer._event_queue.cancel_join_thread()

    def log(self, row: Numbers) -> None:
        """Writes one scalar per number."""
        for name, value in of_something(row).items():
            group = next((g for g in GROUPS if name.startswith(f"{g}_")), None)
            tag = f"{group}/{name[len(group) + 1 :]}" if group else name
            self.writer.add_scalar(tag, value, row["step"])

    def close(self) -> None:
        """Writes the remaining rows and closes the file."""
        self.writer.close()


class WandB:
    """A W&B run under RUN/wandb. Its id is stored in RUN/wandb_id, so that a resumed run continues it.

    Steps between the checkpoint and the end of an earlier process are skipped: W&B has them already, and takes no row twice.
    """

    def __init__(self, run: Path, config: TrainConfig) -> None:
        wandb = require("wandb", "track", "--trackers wandb")
        file = run / "wandb_id"
        kept = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
        number = kept if WANDB_ID.fullmatch(kept) else secrets.token_hex(4)
        self.run = wandb.init(
            id=number,
            resume="allow",
            name=os.environ.get("WANDB_NAME", run.resolve().name),
            dir=str(run),
            config=config.to_json(),
            project=os.environ.get("WANDB_PROJECT", "fasttok"),
            settings=_wandb_settings(wandb),
        )
        write_text(file, str(getattr(self.run, "id", number)))  # a sweep chooses its own id
        self.first = int(getattr(self.run, "step", 0) or 0)

    def log(self, row: Numbers) -> None:
        """Sends one row, unless W&B has its step already."""
        if row["step"] >= self.first:
            self.run.log(of_something(row), step=int(row["step"]))

    def close(self) -> None:
        """Waits for the upload."""
        self.run.finish()


class Several:
    """Passes rows on to several trackers; metrics.jsonl comes first."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self.trackers = list(trackers)

    def log(self, row: Numbers) -> None:
        """Passes a row to each tracker."""
        for tracker in self.trackers:
            tracker.log(row)

    def close(self) -> None:
        """Closes each tracker."""
        for tracker in self.trackers:
            tracker.close()


def check_trackers(names: tuple[str, ...]) -> None:
    """Checks that all of these trackers can be opened, before anything is written.

    Raises:
        InputError: a name is unknown, or the tracker's package is not installed or cannot be imported.
    """
    for name in names:
        if name not in NAMES:
            raise unknown_name("tracker", name, NAMES)
        try:
            require("tensorboardX" if name == "tensorboard" else name, "track", f"--trackers {name}")
        except InputError:
            raise
        except Exception as error:  # a package that does not fit the others that are installed
            raise InputError(
                f"--trackers {name}: its package cannot be imported: {error}; install it again, or leave the tracker out"
            ) from None


def open_trackers(names: tuple[str, ...], run: Path, from_step: int, config: TrainConfig) -> Tracker:
    """Opens metrics.jsonl and the trackers named. A tracker that does not start, or fails later, is left out with a warning.

    Args:
        names: names from `NAMES`.
        run: folder of the run.
        from_step: the step after which the run resumes; 0 for a new run.
        config: configuration of the run, which W&B shows.

    Raises:
        InputError: a name is unknown, or the tracker's package is not installed or cannot be imported.
    """
    check_trackers(names)
    add_session(run, from_step)
    trackers: list[Tracker] = [JsonLines(run, from_step)]
    for name in dict.fromkeys(names):
        start = partial(TensorBoard, run, from_step) if name == "tensorboard" else partial(WandB, run, config)
        trackers.append(TrackerThread(f"--trackers {name}", start))
    return Several(trackers)


def _lines(path: Path) -> list[tuple[str, Numbers]]:
    """Returns the lines of a metrics.jsonl, each with its row. Lines that a kill cut short are left out."""
    out = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                out.append((line, row))
    return out


def _wandb_settings(wandb: ModuleType) -> dict[str, str | bool | float]:
    """Returns those of `WANDB_SETTINGS` that this version of W&B has and that the environment does not set."""
    known = getattr(getattr(wandb, "Settings", None), "model_fields", ())
    return {
        name: value
        for name, value in WANDB_SETTINGS.items()
        if name in known and f"WANDB_{name.upper()}" not in os.environ
    }
