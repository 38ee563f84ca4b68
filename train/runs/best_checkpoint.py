"""RUN/best: the parameters of the step with the lowest held-out number, kept in addition to the last checkpoints.

    best/ORDER_STEP/    params, ema (if the run keeps one), config, and best: the number that decided, its value and its rows

A better checkpoint is written in the background under a temporary name, and gets its own name when it is complete. The one
before is deleted only after that. So a kill at any moment leaves a complete one, and the highest ORDER is the best. A run that
resumes reads the best value there, and goes on comparing with it.
"""

import logging
import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jax
import orbax.checkpoint as ocp

from fasttok.common import json_files
from fasttok.errors import InputError
from train.config import TrainConfig
from train.devices.multi_host import together
from train.params import Params
from train.runs.checkpoint_items import reading, to_restore, to_save
from train.runs.run_folder import BEST
from train.step import State

logger = logging.getLogger(__name__)
HALF_WRITTEN = re.compile(r"\d+_\d+\.orbax-checkpoint-tmp.*")
NAME = re.compile(r"(\d{1,9})_(\d{1,12})")


@dataclass(frozen=True)
class BestNumber:
    """The held-out number that made a checkpoint the best.

    Attributes:
        step: the step after which the checkpoint was saved.
        number: name of the number that decides.
        value: its value, the lowest so far.
        rows: digest of the rows that it was measured on; values measured on other rows are not compared with it.
    """

    step: int
    number: str
    value: float
    rows: str


class BestCheckpoint:
    """Keeps the best checkpoint of a run while it trains."""

    def __init__(self, run: Path, rows: str) -> None:
        """Remembers the folder, and reads it only when the first number comes.

        Args:
            run: folder of the run.
            rows: digest of the rows that are measured.
        """
        self.folder, self.rows = (run / BEST).resolve(), rows
        self.writer: ocp.AsyncCheckpointer | None = None
        self.order, self.value = 0, float("inf")

    def offer(self, step: int, state: State, number: str, value: float, config: TrainConfig) -> None:
        """Keeps the state if its number is lower than all before.

        Args:
            step: the last step done.
            state: training state after that step.
            number: name of the number that decides.
            value: its value.
            config: configuration of the run.
        """
        if self.writer is None:
            self._look(number)
        if not value < self.value:
            return
        self._finish()
        self.order, self.value = self.order + 1, value
        saved = to_save(state._replace(optimizer=None))
        about = json_files.encode(BestNumber(step, number, value, self.rows))
        assert self.writer is not None
        self.writer.save(
            self.folder / f"{self.order}_{step}",
            ocp.args.Composite(**saved, best=ocp.args.JsonSave(about), config=ocp.args.JsonSave(config.to_json())),
        )

    def close(self) -> None:
        """Waits until the checkpoint that is being written is complete."""
        if self.writer is not None:
            self._finish()
            self.writer.close()

    def _look(self, number: str) -> None:
        """Reads the best checkpoints that an earlier process of this run kept."""
        self.writer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        if jax.process_index() == 0 and self.folder.is_dir():
            for path in self.folder.iterdir():  # a kill leaves half-written folders
                if HALF_WRITTEN.fullmatch(path.name) and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
        for order, _, path in kept(self.folder):
            self.order = max(self.order, order)
            about = _number_of(path)
            if (about.rows, about.number) == (self.rows, number):
                self.value = min(self.value, about.value)
        together("every process has looked for the best checkpoint")

    def _finish(self) -> None:
        """Waits for the checkpoint that is being written, and deletes those before it."""
        assert self.writer is not None
        self.writer.wait_until_finished()
        together("the best checkpoint is written")
        if jax.process_index() == 0:
            for _, _, path in kept(self.folder)[:-1]:
                shutil.rmtree(path, ignore_errors=True)


def kept(folder: Path) -> list[tuple[int, int, Path]]:
    """Returns (order, step, folder) of each complete checkpoint of RUN/best; the last one is the best."""
    if not folder.is_dir():
        return []
    found = [(NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match)


def restore_best(run: Path, params: Params, moving: Params | None) -> tuple[Params, Params | None, int]:
    """Reads the parameters and the moving average of the best checkpoint, and returns them with its step.

    Args:
        run: folder of the run.
        params: shapes of the parameters.
        moving: shapes of the moving average; None if the run keeps none.

    Raises:
        InputError: the run keeps no best checkpoint, or the checkpoint has other shapes.
    """
    there = kept(run / BEST)
    if not there:
        raise InputError(
            f"{run} keeps no best checkpoint (--held-out SHARDS --keep-best does); leave the step out for the newest one"
        )
    _, step, path = there[-1]
    wanted = ocp.args.Composite(**to_restore(State(params, None, moving)))
    with reading(run, "best checkpoint"), closing(ocp.Checkpointer(ocp.CompositeCheckpointHandler())) as reader:
        out = cast(dict[str, Any], reader.restore(path.resolve(), args=wanted))
    return out["params"], out["ema"] if moving is not None else None, step


def _number_of(path: Path) -> BestNumber:
    """Reads which number made a checkpoint of RUN/best the best.

    Raises:
        InputError: the file with the number is missing or damaged.
    """
    file = path / "best" / "metadata"
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); delete {path} to do without it") from None
    return json_files.read(BestNumber, text, str(file))
