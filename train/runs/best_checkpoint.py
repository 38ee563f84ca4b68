"""RUN/best: the parameters of the step with the lowest held-out number, beside the last checkpoints.

    best/ORDER_STEP/    params, ema (if the run keeps one), config, and best: which number it was, of which rows

Each that is better is written under a name of its own, in the background, and gets that name when it is whole; the one before
goes only afterwards. So a kill at any moment leaves one, and the highest ORDER is the best. A run that resumes reads its
number there, and goes on comparing with it.
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
    """Why a checkpoint is the best.

    Attributes:
        step: after which it was taken.
        number: name of the number that decides.
        value: of it; the lowest so far.
        rows: digest of the rows that it was measured on; values of other rows are not compared.
    """

    step: int
    number: str
    value: float
    rows: str


class BestCheckpoint:
    """Keeps the best checkpoint of a run while it trains."""

    def __init__(self, run: Path, rows: str) -> None:
        """Remembers where; looks there when the first number comes.

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
            step: after which the state is.
            state: to keep.
            number: name of the number that decides.
            value: of it.
            config: of the run.
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
        """Waits for what is being written."""
        if self.writer is not None:
            self._finish()
            self.writer.close()

    def _look(self, number: str) -> None:
        """What an earlier process of this run has kept."""
        self.writer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        if jax.process_index() == 0 and self.folder.is_dir():
            for path in self.folder.iterdir():  # what a kill left half-written
                if HALF_WRITTEN.fullmatch(path.name) and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
        for order, _, path in kept(self.folder):
            self.order = max(self.order, order)
            about = _number_of(path)
            if (about.rows, about.number) == (self.rows, number):
                self.value = min(self.value, about.value)
        together("every process has looked for the best checkpoint")

    def _finish(self) -> None:
        """Waits for the one that is being written, and removes those before it."""
        assert self.writer is not None
        self.writer.wait_until_finished()
        together("the best checkpoint is written")
        if jax.process_index() == 0:
            for _, _, path in kept(self.folder)[:-1]:
                shutil.rmtree(path, ignore_errors=True)


def kept(folder: Path) -> list[tuple[int, int, Path]]:
    """Order, step and folder of each whole checkpoint of RUN/best; the best is the last."""
    if not folder.is_dir():
        return []
    found = [(NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match)


def restore_best(run: Path, params: Params, moving: Params | None) -> tuple[Params, Params | None, int]:
    """Parameters and moving average of the best checkpoint, and its step.

    Args:
        run: folder of the run.
        params: gives shapes.
        moving: shapes of the moving average; None if the run keeps none.

    Raises:
        InputError: the run keeps no best checkpoint, or it has other shapes.
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
    """What a checkpoint of RUN/best says of itself.

    Raises:
        InputError: it is damaged.
    """
    file = path / "best" / "metadata"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); delete {path} to do without it") from None
    return json_files.read(BestNumber, text, str(file))
