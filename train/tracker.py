"""Where numbers go: metrics.jsonl always, TensorBoard and W&B if asked for. A run that resumes cuts what it will write again."""

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, Protocol, get_args

from fasttok.errors import InputError, require, unknown_name
from train.config import TrainConfig
from train.run_folder import METRICS

logger = logging.getLogger(__name__)
TrackerName = Literal["tensorboard", "wandb"]
NAMES: tuple[TrackerName, ...] = get_args(TrackerName)
Numbers = dict[str, float]  # of one logged step, by name; among them `step`, an int


def line(row: Numbers) -> str:
    """One aligned line for people.

    >>> line({"step": 1, "loss_flow": 0.5, "grad_norm_expert": 2.0, "samples_per_second": 90.4, "data_wait": 0.02})
    'flow 0.500  |g| 2.00  90 samples/s  wait 2 %'
    """
    losses = [f"{name[5:]} {row[name]:.3f}" for name in ("loss_vlm", "loss_fast", "loss_flow") if name in row]
    norms = [f"{row[name]:.2f}" for name in row if name in ("grad_norm_backbone", "grad_norm_expert")]
    speed = [f"{row['samples_per_second']:.0f} samples/s", *([f"MFU {100 * row['mfu']:.0f} %"] if "mfu" in row else [])]
    return "  ".join([*losses, "|g| " + " ".join(norms), *speed, f"wait {100 * row['data_wait']:.0f} %"])


class Tracker(Protocol):
    """Takes the numbers of one step after the other."""

    def log(self, row: Numbers) -> None:
        """Takes those of one step."""
        ...

    def close(self) -> None:
        """Ends what is open."""
        ...


class JsonLines:
    """Appends lines to RUN/metrics.jsonl."""

    def __init__(self, run: Path, from_step: int) -> None:
        self.path = run / METRICS
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that a kill cut short
                if row["step"] <= from_step:
                    kept.append(line + "\n")
        self.path.write_text("".join(kept), encoding="utf-8")

    def log(self, row: Numbers) -> None:
        """One line, on disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """RUN/tensorboard, by tensorboardX; loss_vlm becomes loss/vlm."""

    def __init__(self, run: Path, from_step: int) -> None:
        writer = require("tensorboardX", "track", "--trackers tensorboard")
        self.writer = writer.SummaryWriter(str(run / "tensorboard"), purge_step=from_step + 1)

    def log(self, row: Numbers) -> None:
        """One scalar a number."""
        for name, value in row.items():
            group = next((g for g in ("loss", "ce", "n", "grad_norm") if name.startswith(f"{g}_")), None)
            tag = f"{group}/{name[len(group) + 1 :]}" if group else name
            self.writer.add_scalar(tag, value, row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self.writer.close()


class WandB:
    """A W&B run; its id stays in RUN/wandb_id, so that a resumed run goes on in it."""

    def __init__(self, run: Path, config: TrainConfig) -> None:
        wandb = require("wandb", "track", "--trackers wandb")
        file = run / "wandb_id"
        number = file.read_text(encoding="utf-8") if file.is_file() else wandb.util.generate_id()
        file.write_text(number, encoding="utf-8")
        self.run = wandb.init(
            id=number, resume="allow", name=run.name, dir=str(run), config=config.to_json(), project="fasttok"
        )

    def log(self, row: Numbers) -> None:
        """One row."""
        self.run.log(row, step=row["step"])

    def close(self) -> None:
        """Waits for the upload."""
        self.run.finish()


class Several:
    """All of some trackers. One that fails later (a full quota, no network) is left out with a warning; training goes on."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self.first, *self.others = trackers

    def log(self, row: Numbers) -> None:
        """To each."""
        self.first.log(row)
        self._each(lambda tracker: tracker.log(row))

    def close(self) -> None:
        """Each."""
        self.first.close()
        self._each(lambda tracker: tracker.close())

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for tracker in list(self.others):
            try:
                do(tracker)
            except Exception as error:  # other people's services: nothing that they do may end a run
                logger.warning(f"{type(tracker).__name__} failed and is left out from here on: {error}")
                self.others.remove(tracker)


def check_trackers(names: tuple[str, ...]) -> None:
    """Whether all of these can be opened, before anything is written.

    Raises:
        InputError: an unknown name, or its package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise unknown_name("tracker", name, NAMES)
        require("tensorboardX" if name == "tensorboard" else name, "track", f"--trackers {name}")


def open_trackers(names: tuple[str, ...], run: Path, from_step: int, config: TrainConfig) -> Tracker:
    """metrics.jsonl and the trackers named.

    Args:
        names: of `NAMES`.
        run: folder of the run.
        from_step: after which the run goes on; 0 for a new one.
        config: of the run, which W&B shows.

    Raises:
        InputError: an unknown name, or its package is not installed.
    """
    check_trackers(names)
    others: list[Tracker] = []
    for name in names:
        try:
            others.append(TensorBoard(run, from_step) if name == "tensorboard" else WandB(run, config))
        except (OSError, RuntimeError) as error:
            raise InputError(f"--trackers {name} could not start: {error}; leave it out, or set it up") from None
    return Several([JsonLines(run, from_step), *others])
