"""Translates a training state into the items that orbax writes and reads, one for each tree, and orbax's errors into one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import orbax.checkpoint as ocp

from fasttok.errors import InputError
from train.devices import sharding
from train.step import State

Items = dict[str, ocp.args.CheckpointArgs]


def to_save(state: State) -> Items:
    """Returns the items to write for a state."""
    return {name: ocp.args.StandardSave(tree) for name, tree in state._asdict().items() if tree is not None}


def to_restore(state: State) -> Items:
    """Returns the items to read for a state of these shapes, dtypes and shardings."""
    return {
        name: ocp.args.StandardRestore(sharding.abstract(tree))
        for name, tree in state._asdict().items()
        if tree is not None
    }


@contextlib.contextmanager
def reading(run: Path, what: str) -> Iterator[None]:
    """A context in which orbax reads part of a run; `what` names the part in error messages.

    Raises:
        InputError: orbax cannot read it, or it has other shapes.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{run}: its {what} cannot be read: {error}") from None
    except Exception as error:
        cause = (
            error.__cause__ if type(error) is Exception else error
        )  # orbax makes a bare one of an error of TensorStore
        if not isinstance(cause, ValueError | KeyError | TypeError | OSError):
            raise
        why = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise InputError(f"{run}: the {what} is damaged, or does not fit this model: {why}") from None
