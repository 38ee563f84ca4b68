"""Checkpoints with orbax: parameters, optimiser state and data position together, atomic, the last few kept.

Noise and time come from (seed, step) and the data order from the reader's state, so these three resume a run bit for bit.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from fasttok.errors import InputError

FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, run: Path, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager((run / FOLDER).resolve(), options=options)
        self.run = run

    @property
    def last_step(self) -> int | None:
        """Step of the newest whole checkpoint, None if there is none."""
        return self.manager.latest_step()

    def save(self, step: int, params: Any, optimizer: Any, data: dict[str, Any]) -> None:
        """Writes a checkpoint; a kill meanwhile leaves the one before untouched."""
        self.manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params),
                optimizer=ocp.args.StandardSave(optimizer),
                data=ocp.args.JsonSave(data),
            ),
        )
        self.manager.wait_until_finished()

    def restore(self, params: Any, optimizer: Any) -> tuple[int, Any, Any, dict[str, Any]]:
        """(step, params, optimizer, data) of the newest checkpoint; the arguments give shapes and dtypes.

        Raises:
            InputError: there is none, or it has other shapes.
        """
        step = self._newest()
        try:
            out = self.manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(_abstract(params)),
                    optimizer=ocp.args.StandardRestore(_abstract(optimizer)),
                    data=ocp.args.JsonRestore(),
                ),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.run}: the checkpoint does not fit this model: {str(error).splitlines()[0]}"
            ) from None
        return step, out["params"], out["optimizer"], out["data"]

    def restore_params(self, params: Any) -> Any:
        """Only the parameters of the newest checkpoint.

        Raises:
            InputError: there is none, or it has other shapes.
        """
        try:
            args = ocp.args.Composite(params=ocp.args.StandardRestore(_abstract(params)))
            return self.manager.restore(self._newest(), args=args)["params"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.run}: the checkpoint does not fit this model: {str(error).splitlines()[0]}"
            ) from None

    def _newest(self) -> int:
        step = self.last_step
        if step is None:
            raise InputError(f"{self.run} has no checkpoint; train it with: python -m train --out {self.run}")
        return step

    def close(self) -> None:
        """Waits for what is being written."""
        self.manager.close()


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
