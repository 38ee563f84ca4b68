"""HDF5 as robomimic writes it (data/demo_*/actions, many episodes a file) and as ALOHA does (action, an episode a file).

Links out of the file are not followed.
"""

import io
from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import BadRecord, Episode, Where
from fasttok.episodes.order import rows_fault, several
from fasttok.errors import InputError

SUFFIXES = (".hdf5", ".h5")
PROPRIO = ("observations/qpos",)
ACTIONS = ("action", "actions")


def h5py() -> Any:
    """The module.

    Raises:
        InputError: it is not installed.
    """
    try:
        import h5py as module
    except ImportError:
        raise InputError("reading HDF5 needs h5py: pip install 'fasttok-vla[hdf5]'") from None
    return module


def read(files: list[str], name: str, split: str) -> Iterator[Episode | BadRecord]:
    """Episodes in the order of files and of demo numbers; robomimic's mask/SPLIT chooses among them where it exists."""
    module = h5py()
    for path in files:
        with fsspec.open(path, "rb") as stream:
            try:
                file = module.File(stream if "://" not in path else io.BytesIO(stream.read()), "r")
            except OSError as error:
                refuse_pointer_at(path)
                yield BadRecord(Where(path), "hdf5", str(error).split("\n")[0])
                continue
            with file:
                yield from _read_file(module, file, path, name, split)


def _read_file(module: Any, file: Any, path: str, name: str, split: str) -> Iterator[Episode | BadRecord]:
    demos = file.get("data") if "data" in file else None
    if demos is None or "actions" in file or "action" in file:
        episode = _episode(module, file, Where(path), name)
        found = several(episode.steps) if isinstance(episode, Episode) else ""
        if found:
            raise InputError(
                f"{path} holds several episodes ({found}), as D4RL writes them, but a file with actions at its root is read as "
                "one episode; write each episode into a group of its own, data/demo_0, data/demo_1 ..., as robomimic does"
            )
        yield episode
        return
    chosen = None
    if "mask" in file:
        masks = file["mask"]
        if split not in masks and split != "train":
            raise InputError(f"{path} has no split {split!r} in mask/; there are {', '.join(masks)}")
        if split in masks:
            chosen = {key.decode() if isinstance(key, bytes) else str(key) for key in masks[split][()]}
        lacking = sorted((chosen or set()) - set(demos))
        if lacking:
            detail = f"mask/{split} names {len(lacking)} episodes that data/ does not have, such as {lacking[0]}"
            yield BadRecord(Where(path), "missing", detail, len(lacking))
    for key in sorted(demos, key=lambda k: (len(k), k)):
        if chosen is None or key in chosen:
            number = int("".join(c for c in key if c.isdigit()) or 0)
            episode = _episode(module, demos[key], Where(path, number=number), name)
            yield _as_declared(episode, demos[key].attrs.get("num_samples"))
    declared = demos.attrs.get("num_demos")
    if declared is not None and int(declared) > len(demos):
        lost = int(declared) - len(demos)
        yield BadRecord(Where(path), "missing", f"num_demos is {declared}, data/ has {len(demos)} episodes", lost)


def _as_declared(episode: Episode | BadRecord, samples: Any) -> Episode | BadRecord:
    """The episode, if it has as many steps as robomimic's num_samples says."""
    if isinstance(episode, BadRecord) or samples is None or int(samples) == episode.length:
        return episode
    return BadRecord(episode.where, "frames", f"num_samples is {samples}, there are {episode.length} steps")


def _episode(module: Any, group: Any, where: Where, name: str) -> Episode | BadRecord:
    """All datasets of numbers below a group whose first axis is as long as the actions'."""
    steps: dict[str, Any] = {}

    def visit(node: Any, prefix: str) -> None:
        for key in node:
            if not isinstance(node.get(key, getlink=True), module.HardLink):
                continue
            child = node[key]
            if isinstance(child, module.Group):
                visit(child, f"{prefix}{key}/")
            elif (
                not child.external
                and not child.is_virtual
                and child.ndim
                and child.dtype.kind in "fiub"
                and (child.ndim <= 2 or prefix + key in ACTIONS)
            ):
                steps[prefix + key] = child

    visit(group, "")
    if "actions" in steps and "action" not in steps:
        steps["action"] = steps.pop("actions")
    if "action" not in steps:
        return BadRecord(where, "features", f"no 'action' or 'actions'; there are {', '.join(sorted(steps)) or 'none'}")
    if steps["action"].ndim > 2:
        raise InputError(
            f"{where}: the actions have shape {steps['action'].shape}, expected (T, D): a row of D numbers per step; write "
            "several episodes as data/demo_0/actions, data/demo_1/actions ..."
        )
    length = len(steps["action"])
    short = [key for key in PROPRIO if key in steps and len(steps[key]) != length]
    if short:
        return BadRecord(where, "features", f"{short[0]} has {len(steps[short[0]])} rows, the actions have {length}")
    if not length:
        return BadRecord(where, "empty", "an episode of 0 steps")
    try:
        arrays: Any = {key: np.asarray(value[()]) for key, value in steps.items() if len(value) == length}
    except OSError as error:
        return BadRecord(where, "hdf5", str(error).split("\n")[0])
    for key in PROPRIO:
        if key in arrays:
            arrays["proprio"] = arrays[key]
    fault = rows_fault(arrays)
    return BadRecord(where, "frames", fault) if fault else Episode(arrays, {"dataset": name}, where)
