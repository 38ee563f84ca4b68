"""Checkpoints, written with orbax: the training state, the position in the data and the configuration together.

A checkpoint is written in the background while training goes on. Its folder gets its name only when it is complete, and only
the last few are kept. Noise and flow times come from (seed, step) and the order of the data from the reader's state, so a run
resumes bit for bit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import jax
import orbax.checkpoint as ocp

from fasttok.common import json_files
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
    """Reads the checkpoints of a run, and writes new ones if `keep` is given.

    Args:
        run: folder of the run.
        keep: how many checkpoints to keep while writing; None: only read, and change nothing on disk, not even half-written
            checkpoints.
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
        """Step of the newest complete checkpoint; None if there is none."""
        return cast(int | None, self.manager.latest_step())

    @property
    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        return sorted(self.manager.all_steps())

    def save(self, step: int, state: State, position: ReadState, config: TrainConfig) -> None:
        """Copies the state and writes it in the background. A kill meanwhile leaves the previous checkpoint untouched.

        Args:
            step: the last step done.
            state: training state after that step.
            position: position in the shards, after the rows of that step.
            config: configuration of the run.

        Raises:
            InputError: the disk has no room for the checkpoint.
        """
        self.manager.wait_until_finished()
        check_room_for_one(self.run, step, state)
        about = {"data": ocp.args.JsonSave(position.to_json()), "config": ocp.args.JsonSave(config.to_json())}
        self.manager.save(step, args=ocp.args.Composite(**to_save(state), **about))

    def position(self) -> ReadState | None:
        """Returns the newest checkpoint's position in the shards; None if there is no checkpoint.

        Raises:
            InputError: the checkpoint is damaged.
        """
        return None if self.last_step is None else self._place(self._read({"data": ocp.args.JsonRestore()})["data"])

    def config(self) -> TrainConfig:
        """Returns the configuration that wrote the newest checkpoint.

        RUN/config.json may be newer: a resumed run writes it before its first checkpoint.

        Raises:
            InputError: there is no checkpoint, or it is damaged.
        """
        saved = self._read({"config": ocp.args.JsonRestore()})["config"]
        return json_files.decode(TrainConfig, saved, f"{self.run}: configuration of its checkpoint")

    def restore(self, state: State) -> tuple[int, State, ReadState]:
        """Returns the step, the state and the position in the shards of the newest checkpoint.

        Args:
            state: a state, or its shapes, with the dtypes and shardings that the arrays should get.

        Raises:
            InputError: there is no checkpoint, or it has other shapes.
        """
        wanted = to_restore(state)
        out = self._read(wanted | {"data": ocp.args.JsonRestore()})
        return self._newest(), State(**{name: out[name] for name in wanted}), self._place(out["data"])

    def restore_params(
        self, params: Params, moving: Params | None = None, step: int | None = None
    ) -> tuple[Params, Params | None]:
        """Returns the parameters and the moving average of a checkpoint.

        Args:
            params: shapes of the parameters.
            moving: shapes of the moving average; None if the run keeps none.
            step: one of `steps`; None: the newest.

        Raises:
            InputError: there is no such checkpoint, or it has other shapes.
        """
        out = self._read(to_restore(State(params, None, moving)), step)
        return out["params"], out["ema"] if moving is not None else None

    def _read(self, wanted: Mapping[str, ocp.args.CheckpointArgs], step: int | None = None) -> Any:
        if step is not None and step not in self.steps:
            raise InputError(f"{self.run} has no checkpoint of step {step}; it has {', '.join(map(str, self.steps))}")
        step = self._newest() if step is None else step
        with reading(self.run, "checkpoint"):
            return self.manager.restore(step, args=ocp.args.Composite(**wanted))

    def _place(self, said: Any) -> ReadState:
        """Returns the position in the shards that a checkpoint contains."""
        with reading(self.run, "checkpoint's position in the shards"):
            return ReadState.from_json(said)

    def _newest(self) -> int:
        step = self.last_step
        if step is None:
            raise InputError(
                f"{self.run} has no checkpoint; train it with the command that began it (sessions.jsonl has it) and --resume"
            )
        return step

    def close(self) -> None:
        """Waits until the checkpoint that is being written is complete."""
        self.manager.close()


def load_params(run: Path, step: int | Literal["best"] | None = None) -> tuple[TrainConfig, Params, int]:
    """Reads a run's configuration, the parameters of a checkpoint, and the step of that checkpoint.

    The parameters are the moving average if the run keeps one, with LoRA's matrices merged into them.

    Args:
        run: folder that `fasttok-train` wrote.
        step: step of the checkpoint; None: the newest; "best": the one that `--keep-best` kept.

    Raises:
        InputError: the folder is not a run, or has no such checkpoint.
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
