"""Reads the states that `encode` and `decode` need besides chunks or ids, for tokenizers with relative dims."""

from collections.abc import Iterator
from contextlib import contextmanager

from fasttok.errors import InputError
from fasttok.storage.state_column import StateColumn, read_twice
from fasttok.tokenizer import ActionTokenizer


@contextmanager
def beside(
    tok: ActionTokenizer, path: str, embodiment: str | None, state_key: str
) -> Iterator[tuple[str, StateColumn | None]]:
    """Yields (path to read the rows from, their states). The states are None if the embodiment has no relative dims.

    Raises:
        InputError: the file has no states, or `state_key` is given but not needed.
    """
    name = tok.embodiment(embodiment) if any(what.relative for what in tok.embodiments.values()) else None
    what = tok.embodiments.get(name) if name is not None else None
    if what is None or not what.relative:
        if state_key:
            raise InputError(f"--state-key {state_key}: no dims are relative here, so no state is needed; leave it out")
        yield path, None
        return
    stats = tok.state_stats.get(name or "")
    with read_twice(path) as again, StateColumn(again, what, state_key, None if stats is None else stats.dim) as states:
        yield again, states
