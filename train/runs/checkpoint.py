"""Checkpoints with orbax: the training state, the data position and the configuration together, atomic, the last few kept.

Noise and time come from (seed, step) and the data order from the reader's state, so these resume a run bit for bit. Writing goes
on beside the training; a folder gets its name only when all of it is there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import jax
import orbax.checkpoint as ocp

from fasttok.errors import InputError
from pipelines.shards import ReadState
from train import model, optim
from train.config import TrainConfig
from train.learning import lora
from train.params import Params
from train.runs.best_checkpoint import restore_best
from train.runs.checkpoint_items import reading, to_restore, to_save
from train.runs.disk_room import check_room_for_one
from train.runs.run_folder import CHECKPOINTS, load_config
from train.step import State, shown


class Checkpoints:
    """The checkpoints of a run: to be read, or also written.

    Args:
        run: its folder.
        keep: how many to keep while writing; None: only reads, and changes nothing on disk, not even what is half-written.
    """

    def __init__(self, run: Path, keep: int | None = None) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        if keep is None:
            options = ocp.CheckpointManagerOptions(create=False, enable_async_checkpointing=False)  # read_only warns
        self.manager = ocp.CheckpointManager((run / CHECKPOINTS).resolve(), options=options)
        self.run = run

    @property
    def last_step(self) -> int | None:
        """Step of the newest whole checkpoint, None if there is none."""
        return cast(int | None, self.manager.latest_step())

    @property
    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, ascending."""
        return sorted(self.manager.all_steps())

    def save(self, step: int, state: State, position: ReadState, config: TrainConfig) -> None:
        """Copies the state and writes it in the background; a kill meanwhile leaves the checkpoint before untouched.

        Args:
            step: after which the state is.
            state: all that a step changes.
            position: in the shards, after the rows of that step.
            config: of the run.

        Raises:
            InputError: the disk has no room for it.
        """
        self.manager.wait_until_finished()
        check_room_for_one(self.run, step, state)
        about = {"data": ocp.args.JsonSave(position.to_json()), "config": ocp.args.JsonSave(config.to_json())}
        self.manager.save(step, args=ocp.args.Composite(**to_save(state), **about))

    def position(self) -> ReadState | None:
        """The place among the rows of the newest checkpoint, None if there is none.

        Raises:
            InputError: it is damaged.
        """
        return (
            None
            if self.last_step is None
            else ReadState.from_json(self._read({"data": ocp.args.JsonRestore()})["data"])
        )

    def restore(self, state: State) -> tuple[int, State, ReadState]:
        """Step, state and position in the shards of the newest checkpoint.

        Args:
            state: gives shapes, dtypes and where arrays live.

        Raises:
            InputError: there is none, or it has other shapes.
        """
        wanted = to_restore(state)
        out = self._read(wanted | {"data": ocp.args.JsonRestore()})
        return self._newest(), State(**{name: out[name] for name in wanted}), ReadState.from_json(out["data"])

    def restore_params(
        self, params: Params, moving: Params | None = None, step: int | None = None
    ) -> tuple[Params, Params | None]:
        """Parameters and moving average of a checkpoint.

        Args:
            params: gives shapes.
            moving: shapes of the moving average; None if the run keeps none.
            step: one of `steps`; None: the newest.

        Raises:
            InputError: there is none, or it has other shapes.
        """
        out = self._read(to_restore(State(params, None, moving)), step)
        return out["params"], out["ema"] if moving is not None else None

    def _read(self, wanted: Mapping[str, ocp.args.CheckpointArgs], step: int | None = None) -> Any:
        if step is not None and step not in self.steps:
            raise InputError(f"{self.run} has no checkpoint of step {step}; it has {', '.join(map(str, self.steps))}")
        step = self._newest() if step is None else step
        with reading(self.run, "checkpoint"):
            return self.manager.restore(step, args=ocp.args.Composite(**wanted))

    def _newest(self) -> int:
        step = self.last_step
        if step is None:
            raise InputError(f"{self.run} has no checkpoint; train it with: fasttok-train --out {self.run}")
        return step

    def close(self) -> None:
        """Waits for what is being written."""
        self.manager.close()


def load_params(run: Path, step: int | Literal["best"] | None = None) -> tuple[TrainConfig, Params, int]:
    """A run's configuration, the parameters of a checkpoint (the moving average if there is one; LoRA's merged), and its step.

    Args:
        run: folder of `fasttok-train`.
        step: of the checkpoint; None: the newest; "best": the one that `--keep-best` kept.

    Raises:
        InputError: not a run, or one without such a checkpoint.
    """
    config = load_config(run)
    shapes = jax.eval_shape(lambda key: lora.add(model.init(key, config.model), config.lora, key), jax.random.key(0))
    moving = optim.split(shapes, config.still)[0] if config.optim.ema else None
    if step == "best":
        params, ema, step = restore_best(run, shapes, moving)
    else:
        checkpoints = Checkpoints(run)
        params, ema = checkpoints.restore_params(shapes, moving, step)
        step = step or checkpoints.last_step or 0
        checkpoints.close()
    return config, lora.merge(shown(State(params, None, ema), config.still)), step
