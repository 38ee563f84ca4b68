"""Loads the arrays of an npz or npy file, without unpickling, and finds out which of them are episodes."""

import io
import re
from collections.abc import Mapping

import numpy as np

from fasttok.common import stores
from fasttok.common.archive_damage import DAMAGE
from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.episodes.episode import ACTIONS
from fasttok.errors import InputError

Arrays = dict[str, np.ndarray]
EPISODES = (
    "episode",
    "ep",
    "demo",
    "traj",
    "trajectory",
    "rollout",
    "run",
    "take",
    "trial",
    "sequence",
    "seq",
    "arr",
    "",
)
PICKLE = b"\x80"
FAULTS = (*DAMAGE, KeyError, MemoryError)


def load_arrays(path: str) -> Arrays | str:
    """Returns name -> array, or text that says why the file cannot be read. The array of an npy file is called `action`.

    Raises:
        InputError: an array is a pickle, or the file is a Git LFS pointer.
    """
    with stores.open_file(path) as stream:
        raw = stream.read()
    key = ""
    try:
        loaded = np.load(io.BytesIO(raw), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"action": loaded} if path.endswith(".npy") else "not an npz file, but a single array: name it .npy"
        with loaded as archive:
            if path.endswith(".npy"):
                return "not an npy file, but an archive: name it .npz"
            arrays = {}
            for key in archive.files:
                arrays[key] = archive[key]
        strange = next((key for key, value in arrays.items() if not isinstance(value, np.ndarray)), None)
        return arrays if strange is None else f"not an npz file: it contains {strange}, which is no array"
    except FAULTS as error:
        refuse_pointer(raw, path)
        if "Object arrays" in str(error) or raw.startswith(PICKLE):
            raise InputError(_pickled(path, key)) from None
        if "allow_pickle" in str(error):  # numpy takes every file that it does not know for a pickle
            return f"not an {path[-3:]} file"
        return str(error).split("\n")[0] or type(error).__name__


def _pickled(path: str, key: str) -> str:
    what = f"{key!r} is an array of objects" if key else "it contains objects"
    name = re.sub(r"\.np[yz]$", "", path.rsplit("/", 1)[-1])
    return (
        f"{path}: {what}, which is a pickle, and pickles are never opened, for they can run code; save an array per episode: "
        f"np.savez({name + '.npz'!r}, **{{f'episode_{{i}}': actions for i, actions in enumerate(episodes)}})"
    )


def episodes_apart(arrays: Arrays) -> dict[int, Arrays]:
    """Returns number -> step columns of each episode, if the name of every array says its episode; otherwise {}.

    `episode_0`, `episode_1` ... are the actions of an episode each. `episode_0/action` and `episode_0/state` are columns of one.

    >>> {n: list(e) for n, e in episodes_apart({"demo_2": np.zeros((3, 2)), "demo_10": np.zeros((4, 2))}).items()}
    {2: ['action'], 10: ['action']}
    """
    named = {key: re.fullmatch(r"([A-Za-z]*?)[_-]?(\d+)(?:/(.+))?", key) for key in arrays}
    if not arrays or not all(named.values()):
        return {}
    parts = {key: (match[1].lower(), int(match[2]), match[3]) for key, match in named.items() if match}
    stems = {stem for stem, _, _ in parts.values()}
    whole = [key for key, (_, _, column) in parts.items() if column is None]
    if len(stems) > 1 or not (stems <= {*EPISODES} or (stems <= {*ACTIONS} and _differ(arrays))):
        return {}
    if whole and (len(whole) < len(arrays) or not _rows_alike(arrays)):
        return {}
    found: dict[int, Arrays] = {}
    for key, (_, number, column) in sorted(parts.items(), key=lambda item: item[1][1]):
        columns = found.setdefault(number, {})
        if (column or "action") in columns:
            return {}
        columns[column or "action"] = arrays[key]
    return found


def _differ(arrays: Mapping[str, np.ndarray]) -> bool:
    return len({value.shape[:1] for value in arrays.values()}) > 1


def _rows_alike(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether all arrays have two axes and the same number of columns."""
    return all(value.ndim == 2 for value in arrays.values()) and len({value.shape[1] for value in arrays.values()}) == 1
