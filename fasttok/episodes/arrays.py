"""Reads episodes in npz, npy and parquet files: actions that never were a robot dataset, or were exported from one.

- npz: `action` or `actions` of shape (n, T, D) is n episodes of equal length, of shape (T, D) one episode. Each array is a step
  column. Arrays with the names `episode_0`, `episode_1` ... are the actions of one episode each. If there is an array
  `episode_ends`, the others have all steps, and it has the row after the last one of each episode (Diffusion Policy).
- npy: one array, read like `action` in an npz.
- parquet: an `episode` (or `episode_index`) column, and list<float> columns such as `action`. The rows are in the order of the
  steps, or in any order if a column such as `frame_index` numbers the steps.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from fasttok.common import stores
from fasttok.common.names import is_beside
from fasttok.episodes.episode import ACTIONS, OF_READERS, BadRecord, Episode, Steps, Where
from fasttok.episodes.numpy_file import episodes_apart, load_arrays
from fasttok.episodes.order import EPISODE_ENDS, cut_at_ends, rows_fault, several
from fasttok.episodes.step_tables import episode_tables, step_columns
from fasttok.errors import InputError

logger = logging.getLogger(__name__)
ALL_ENDS = (EPISODE_ENDS, f"meta/{EPISODE_ENDS}")


def files(path: str, suffix: str) -> list[str]:
    """Returns the file itself, or the folder's files with this suffix, sorted."""
    filesystem, root = stores.filesystem(path)
    if stores.kind_at(filesystem, root) == "file":
        return [path] if root.endswith(suffix) else []
    listed = filesystem.ls(root, detail=False)
    return sorted(stores.join_scheme(path, file) for file in listed if file.endswith(suffix) and not is_beside(file))


def read_numpy(paths: list[str], name: str) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of npz and npy files, without unpickling."""
    said: set[str] = set()
    for path in paths:
        columns = load_arrays(path)
        if isinstance(columns, str):
            yield BadRecord(Where(path), path[-3:], columns)
            continue
        apart, ends = episodes_apart(columns), next((key for key in ALL_ENDS if key in columns), "")
        stacked = [key for key in ACTIONS if key in columns and columns[key].ndim > 2]
        if apart:
            for number, episode in apart.items():
                yield from _one(episode, Where(path, number=number), name)
        elif ends:
            yield from _cut(columns, ends, path, name)
        elif stacked:
            yield from _stacked(columns, stacked[0], path, name, said)
        else:
            yield from _one(columns, Where(path), name)


def _stacked(
    columns: dict[str, np.ndarray], key: str, path: str, name: str, said: set[str]
) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of (n, T, D) actions. If there is an array `lengths` (n,), it has the number of real steps of each.

    It warns of arrays that it leaves out, unless their names are in `said`.
    """
    actions = columns[key]
    if actions.ndim > 3:
        raise InputError(
            f"{path}: {key} has shape {actions.shape}, expected (T, D), one episode, or (n, T, D), n episodes of equal length"
        )
    if all(key in columns for key in ACTIONS):
        raise InputError(
            f"{path} has both 'action' {columns['action'].shape} and 'actions' {columns['actions'].shape}; keep one"
        )
    also = {
        k: v
        for k, v in columns.items()
        if k not in (key, "lengths") and v.ndim >= 2 and v.shape[:2] == actions.shape[:2]
    }
    firsts = {
        k: v for k, v in columns.items() if k not in (key, "lengths") and v.ndim == 2 and len(v) == len(actions)
    }  # the state at each episode's first step, as in files of chunks
    others = {k: v.shape for k, v in columns.items() if v.ndim and k not in (key, "lengths", *also, *firsts, *said)}
    if others:
        said |= {*others}
        listed = ", ".join(f"{k} {shape}" for k, shape in others.items())
        logger.warning(
            "%s: %s left out; beside %s %s, an array is read if it has a row per step, (%d, %d, ...), or the state at each first "
            "step, (%d, S)",
            path, listed, key, actions.shape, *actions.shape[:2], len(actions),
        )  # fmt: skip
    shared = _said(columns, name)
    lengths = columns.get("lengths", np.full(len(actions), actions.shape[1]))
    if lengths.shape != actions.shape[:1] or lengths.dtype.kind not in "iu" or (lengths > actions.shape[1]).any():
        raise InputError(
            f"{path}: lengths has shape {lengths.shape} of {lengths.dtype}, expected the number of real steps of each of the "
            f"{len(actions)} episodes, at most {actions.shape[1]}"
        )
    for i, length in enumerate(lengths.tolist()):
        where, chunk = Where(path, number=i), actions[i, : max(0, length)]
        if not len(chunk):
            yield BadRecord(where, "empty", "an episode of 0 steps")
            continue
        steps: Steps = {"action": chunk, **{k: v[i, :length] for k, v in also.items()}}
        first = {"first_step": {k: v[i] for k, v in firsts.items()}} if firsts else {}
        yield _checked(
            Episode(steps, shared | first, where),
            f"a row of {key} {actions.shape} is read as one episode; write an array per episode (episode_0, episode_1 ...), or, "
            "if what follows is padding, the number of real steps of each row as 'lengths'",
        )


def _cut(columns: dict[str, np.ndarray], key: str, path: str, name: str) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of columns of all steps, cut at the row numbers in the array `key`.

    The columns may have names such as `data/action`, as in replay buffers of Diffusion Policy.
    """
    ends = columns.pop(key)
    if ends.ndim != 1 or ends.dtype.kind not in "iu":
        raise InputError(f"{path}: {key} is no list of row numbers, the row after the last one of each episode")
    for column in [column for column in columns if column.startswith("data/") and column[5:] not in columns]:
        columns[column[5:]] = columns.pop(column)
    _rename_actions(columns)
    lengths = {column: len(values) for column, values in columns.items() if values.ndim}
    rows = lengths.get("action", ends[-1] if len(ends) else 0)
    if set(lengths.values()) - {rows}:
        yield BadRecord(Where(path), "features", _odd_lengths(lengths))
        return
    shared = _said(columns, name)
    for number, (start, stop) in enumerate(cut_at_ends(ends.tolist(), int(rows), f"{path}: {key}")):
        steps: Steps = {column: columns[column][start:stop] for column in lengths}
        yield _checked(Episode(steps, shared, Where(path, number=number)), f"{key} does not cut them; correct it")


def _odd_lengths(lengths: dict[str, int]) -> str:
    """Says which arrays have another number of rows than the actions (or most arrays), and what to do."""
    usual = lengths.get("action", Counter(lengths.values()).most_common(1)[0][0])
    odd = ", ".join(f"{key} has {rows}" for key, rows in lengths.items() if rows != usual)
    return (
        f"step columns of different lengths: {odd}, the others have {usual} rows. An array has a row per step; leave out arrays "
        "that do not, or, if one has the row after each episode, call it episode_ends"
    )


def _one(columns: dict[str, np.ndarray], where: Where, name: str) -> Iterator[Episode | BadRecord]:
    _rename_actions(columns)
    lengths = {key: len(value) for key, value in columns.items() if value.ndim}
    if not lengths:
        yield BadRecord(where, "features", "no array has a row per step")
        return
    if len(set(lengths.values())) > 1:
        yield BadRecord(where, "features", _odd_lengths(lengths))
        return
    if 0 in lengths.values():
        yield BadRecord(where, "empty", "an episode of 0 steps")
        return
    steps: dict[str, np.ndarray | list[bytes]] = {key: columns[key] for key in lengths}
    yield _checked(
        Episode(steps, _said(columns, name), where),
        "an npz of arrays (T, ...) is read as one episode; write an array per episode (episode_0, episode_1 ...), a parquet file "
        "with a column 'episode', the row after each episode as 'episode_ends', or 'actions' of shape (n, T, D) if all have the "
        "same length",
    )


def _rename_actions(columns: dict[str, np.ndarray]) -> None:
    """Renames `actions` to `action`, unless there are both."""
    if "actions" in columns and "action" not in columns:
        columns["action"] = columns.pop("actions")


def _said(columns: dict[str, np.ndarray], name: str) -> dict[str, complex | str | bytes]:
    """Returns the metadata of an episode: its file's single values, and the dataset's name."""
    return {k: v.item() for k, v in columns.items() if not v.ndim and k not in OF_READERS} | {"dataset": name}


def _checked(episode: Episode, advice: str) -> Episode | BadRecord:
    """Returns an episode, or a BadRecord if its rows are not neighbouring steps.

    Raises:
        InputError: its rows are several episodes.
    """
    where, found, fault = episode.where, several(episode.steps), rows_fault(episode.steps)
    if found:
        raise InputError(f"{where.file} contains several episodes ({found}), but {advice}")
    return BadRecord(where, "frames", fault) if fault else episode


def read_parquet(paths: list[str], name: str) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of parquet files. An episode must not continue in another file."""
    for found in episode_tables(paths):
        if isinstance(found, BadRecord):
            yield found
            continue
        where, key, table = found
        try:
            steps = step_columns(table, key)
        except ValueError as error:
            yield BadRecord(where, "features", str(error))
            continue
        fault = rows_fault(steps)
        if fault:
            yield BadRecord(where, "frames", fault)
        else:
            yield Episode(steps, {"dataset": name, "episode": table[key][0].as_py()}, where)


READERS: dict[str, Callable[[list[str], str], Iterator[Episode | BadRecord]]] = {
    ".npz": read_numpy,
    ".npy": read_numpy,
    ".parquet": read_parquet,
}
"""Suffix -> function that reads such files, given their paths and the dataset's name. If a folder has files of several kinds,
only the first kind counts, and `formats.warn_of_other_tables` says so."""
