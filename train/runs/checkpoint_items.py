"""A state as orbax writes and reads it, an item for each tree that it has; what is wrong with one that is read, in a line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import orbax.checkpoint as ocp

from fasttok.errors import InputError
from train.devices import sharding
from train.step import State

Items = dict[str, ocp.args.CheckpointArgs]


def to_save(state: State) -> Items:
    """What to write of a state."""
    return {name: ocp.args.StandardSave(tree) for name, tree in state._asdict().items() if tree is not None}


def to_restore(state: State) -> Items:
    """What to read into a state of these shapes, dtypes and places."""
    return {
        name: ocp.args.StandardRestore(sharding.abstract(tree))
        for name, tree in state._asdict().items()
        if tree is not None
    }


@contextlib.contextmanager
def reading(run: Path, what: str) -> Iterator[None]:
    """A context in which orbax reads `what` of a run.

    Raises:
        InputError: it cannot be read, or has other shapes.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{run}: its {what} cannot be read: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run}: the {what} does not fit this model: {str(error).splitlines()[0]}") from None
