"""Reads an episode from an HDF5 file: numbers and texts are read, images are only described.

Observations may have one row more than the actions. Their last row is then dropped, because no action follows it.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.dataset_entry import HdfPaths
from fasttok.episodes.episode import ACTIONS, OF_READERS, BadRecord, Episode, Steps, Where
from fasttok.episodes.frames import Frames
from fasttok.episodes.hdf5_facts import first_of, said_by
from fasttok.episodes.hdf5_file import (
    FAULTS,
    HdfTree,
    Node,
    at_path,
    attribute,
    brief,
    h5py,
    is_text,
    number,
    text,
    tree,
)
from fasttok.episodes.hdf5_frames import HdfFrames, camera, is_encoded
from fasttok.episodes.hdf5_layout import ACTION_GROUPS, HdfDemo
from fasttok.episodes.order import EPISODE_ENDS, EPISODE_MARKS, rows_fault, several

NUMBERS = "fiub"
OBSERVED = re.compile(r"(^|/)(obs|observations?|next_obs|states?|images)(/|$)")
PROPRIO = ("observations/qpos",)
MOST_BYTES = 1 << 30  # largest size of a column of an episode, and of a chunk in the file
BEGINNINGS = ("timeouts", "is_first", *EPISODE_MARKS)
"""Columns that tell episodes apart. Goals that are reached do not: a robot may lose them again within its episode."""
NO_ACTIONS = "no 'action' or 'actions'; there are {}"


@dataclass
class _HdfColumns:
    """What an episode's group contains.

    Attributes:
        rows: number of steps in the group; the episode may be a part of them.
        span: rows of the episode.
        steps: columns that were read.
        frames: cameras, and other members that cannot be read, with the reason.
        metadata: values of the whole episode.
        misfit: why a column of observations does not fit the actions, "" if all do.
    """

    rows: int
    span: slice
    steps: Steps = field(default_factory=dict)
    frames: dict[str, Frames] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    misfit: str = ""


def read_demo(file: Node, path: str, demo: HdfDemo, name: str, paths: HdfPaths | None = None) -> Episode | BadRecord:
    """Reads an episode of an opened file.

    Args:
        file: the file, from `hdf5_file.opened`.
        path: its path or URL.
        demo: the episode to read.
        name: name of the dataset.
        paths: where an entry says the length and the language are; None to find out from the file.
    """
    where = Where(path, number=demo.number)
    try:
        group, why = at_path(file, demo.path)
        if group is None or not isinstance(group, h5py().Group):
            return BadRecord(where, "hdf5", f"{demo.path}: {why or 'not a group'}")
        return _read(file, group, demo, where, name, paths or HdfPaths())
    except FAULTS as error:
        return BadRecord(where, "hdf5", brief(error))


def _read(file: Node, group: Node, demo: HdfDemo, where: Where, name: str, paths: HdfPaths) -> Episode | BadRecord:
    found = tree(group)
    rows, fault = _length(found, paths.length)
    if fault:
        return BadRecord(where, "features", fault)
    columns = _HdfColumns(rows, slice(demo.start, rows if demo.stop is None else min(rows, demo.stop)))
    if columns.span.stop <= columns.span.start:
        return BadRecord(where, "empty", "an episode of 0 steps")
    for key, dataset in found.datasets.items():
        _add(columns, where.file, key, dataset)
    for key, why in found.refused.items():
        columns.frames[key] = _fault(where.file, key, columns, why)
    if columns.misfit:
        return BadRecord(where, "frames", columns.misfit)
    steps = columns.steps
    if "actions" in steps and "action" not in steps:
        steps["action"] = steps.pop("actions")
    for key in PROPRIO:
        if key in steps:
            steps["proprio"] = steps[key]
    samples = number(attribute(group, "num_samples"))
    count = columns.span.stop - columns.span.start
    if samples is not None and demo.stop is None and samples != count:
        return BadRecord(where, "frames", f"num_samples is {samples:g}, there are {count} steps")
    fault = rows_fault({key: values for key, values in steps.items() if isinstance(values, np.ndarray)})
    if not fault and demo.path and (why := _several(columns, found)):
        fault = (
            f"{demo.path} contains several episodes ({why}), but a group is read as one; write a group per episode, such as "
            "data/demo_0, data/demo_1 ..."
        )
    if fault:
        return BadRecord(where, "frames", fault)
    metadata = columns.metadata | _said(file, group, demo, paths.language) | {"dataset": name}
    return Episode(steps, metadata, where, columns.frames)


def _several(columns: _HdfColumns, found: HdfTree) -> str:
    """Returns why the rows of a group are several episodes, "" if nothing says so."""
    ends = found.datasets.get(EPISODE_ENDS)
    if ends is not None and ends.size > 1 and columns.span == slice(0, columns.rows):
        return f"{EPISODE_ENDS!r} has {ends.size} values"
    return several({key: columns.steps[key] for key in BEGINNINGS if key in columns.steps})


def _length(found: HdfTree, named: str) -> tuple[int, str]:
    """Returns (number of steps, ""), or (0, why it is not known)."""
    names = [named] if named else [key for key in ACTIONS if key in found.datasets or key in found.refused]
    if not names:  # groups that contain actions, as in DROID
        names = [key for key in found.datasets if key.split("/")[0] in ACTION_GROUPS and found.datasets[key].ndim]
    refused = [f"{key}: {found.refused[key]}" for key in names if key in found.refused]
    if refused:
        return 0, refused[0]
    if not names:  # the actions may have any name; the user gives it with `--action-key`
        names = [
            key for key, dataset in found.datasets.items() if dataset.ndim in (1, 2) and dataset.dtype.kind in NUMBERS
        ]
    absent = [key for key in names if key not in found.datasets]
    lengths = {key: found.datasets[key].shape[0] for key in names if key not in absent and found.datasets[key].ndim}
    if absent or not lengths or (len(set(lengths.values())) > 1 and named == ""):
        there = ", ".join(sorted((*found.datasets, *(f"{key} ({why})" for key, why in found.refused.items()))))
        what = f"no {named!r}; there are {{}}" if named else NO_ACTIONS
        return 0, what.format(there or "none") if absent or not lengths else f"columns of different lengths: {lengths}"
    for key in ACTIONS:
        if key in names and found.datasets[key].ndim > 2:
            return 0, (
                f"{key} has shape {found.datasets[key].shape}, expected (T, D): a row of D numbers per step; write several "
                "episodes as data/demo_0/actions, data/demo_1/actions ..."
            )
    return next(iter(lengths.values())), ""


def _add(columns: _HdfColumns, file: str, key: str, dataset: Node) -> None:
    """Adds a dataset: as a column, a camera, a value of the whole episode, or with the reason why it cannot be read."""
    kind, shape = dataset.dtype.kind, dataset.shape
    if shape is None:
        return
    if not shape or (shape == (1,) and columns.rows > 1 and kind not in NUMBERS):
        if key in OF_READERS:
            return
        if kind in NUMBERS:
            columns.metadata[key] = dataset[()].item()
        elif is_text(dataset):
            columns.metadata[key] = text(dataset[()])
        return
    if shape[0] not in (columns.rows, columns.rows + 1):
        why = f"has {shape[0]} rows, the actions have {columns.rows}"
        columns.frames[key] = _fault(file, dataset.name, columns, why)
        if OBSERVED.search(key) and shape[0] > 1 and 2 * shape[0] >= columns.rows and not columns.misfit:
            columns.misfit = f"{key} {why}; expected as many, or one more"
        return
    steps = np.arange(columns.span.start, columns.span.stop, dtype=np.int64)
    if (len(shape) > 2 and kind in NUMBERS) or is_encoded(dataset):
        columns.frames[key] = camera(file, dataset.name, dataset, steps)
    elif kind in NUMBERS and _bytes(shape, dataset) <= MOST_BYTES:
        columns.steps[key] = np.asarray(dataset[columns.span])
    elif kind in NUMBERS:
        columns.frames[key] = _fault(
            file, dataset.name, columns, f"{shape} of {dataset.dtype} is more than a column may take"
        )
    elif len(shape) == 1 and is_text(dataset) and _bytes(shape, dataset) <= MOST_BYTES:
        columns.steps[key] = [
            value if isinstance(value, bytes) else str(value).encode() for value in dataset[columns.span]
        ]


def _bytes(shape: tuple[int, ...], dataset: Node) -> int:
    """Returns the bytes of the dataset, or of one of its chunks if that is larger, because a chunk is read whole."""
    sizes = [shape] if dataset.chunks is None else [shape, dataset.chunks]
    return max(int(np.prod(size, dtype=object)) for size in sizes) * int(dataset.dtype.itemsize)


def _fault(file: str, key: str, columns: _HdfColumns, why: str) -> HdfFrames:
    steps: NDArray[np.int64] = np.arange(columns.span.start, columns.span.stop, dtype=np.int64)
    return HdfFrames(file, key, steps, "fault", 0, why)


def _said(file: Node, group: Node, demo: HdfDemo, language: str) -> dict[str, str | float | bool]:
    """Returns the metadata that attributes give, the episode's own first. An entry may name where the language is."""
    facts = first_of(said_by(group), demo.facts)
    words = facts.language
    if language.startswith("@"):
        words = next((said for node in (group, file) if (said := text(attribute(node, language[1:])))), "")
    elif language:
        node, _ = at_path(group, language)
        words = text(node[()]) if isinstance(node, h5py().Dataset) and node.size == 1 and is_text(node) else ""
    found = {"language": words or None, "control_hz": facts.control_hz, "success": facts.success}
    return {key: value for key, value in found.items() if value is not None}
