"""Finds the episodes of an HDF5 file, for `fasttok fit` and for `fasttok-pipelines`.

| layout | episodes | splits |
|---|---|---|
| robomimic, robosuite, LIBERO, RoboCasa | groups data/demo_N | masks, mask/SPLIT |
| ManiSkill | groups traj_N; a JSON file beside the HDF5 file says more about them | |
| D4RL | rows of the file, cut by `terminals` and `timeouts` | |
| ALOHA | the file | |
| Diffusion Policy | rows of the group `data`, or of the file, cut by `meta/episode_ends` or `episode_ends` | |
| any other | every group with a member `action`, `actions` or `action_dict` | |

Folders named train, val, valid, validation or test are splits, too.
"""

import fnmatch
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fasttok.common import stores
from fasttok.episodes.dataset_entry import HdfPaths
from fasttok.episodes.episode import ACTIONS, BadRecord, Where
from fasttok.episodes.hdf5_facts import (
    HdfFacts,
    ManiskillJson,
    first_of,
    json_beside,
    language_of_name,
    read_beside,
    said_by,
)
from fasttok.episodes.hdf5_file import Node, at_path, attribute, h5py, is_text, member, text
from fasttok.episodes.hdf5_file import number as number_of
from fasttok.episodes.order import ENDS, EPISODE_ENDS, EPISODE_MARKS, cut_at_ends, episode_starts, natural
from fasttok.errors import InputError

logger = logging.getLogger(__name__)
SUFFIXES = (".hdf5", ".h5")
TRAIN = "train"
SPLIT_FOLDERS = (TRAIN, "val", "valid", "validation", "test")
ACTION_GROUPS = (*ACTIONS, "action_dict")
DEEPEST_EPISODES = 4  # levels of groups that are searched for episodes
MOST_NAMED = 10_000_000  # largest number of episodes in a mask; a larger mask is ignored
MOST_MARKS = 1 << 30  # largest size in bytes of a column that marks ends; a larger one is ignored
HdfLayout = Literal["robomimic", "maniskill", "rows", "file", "groups"]


@dataclass(frozen=True)
class HdfDemo:
    """An episode in a file.

    Attributes:
        path: path of its group, "" for the file itself.
        number: number of the episode, different for each episode of the file.
        start: its first row.
        stop: one past its last row, None for all rows from `start` on.
        facts: what the file says about the episode.
    """

    path: str
    number: int
    start: int = 0
    stop: int | None = None
    facts: HdfFacts = field(default_factory=HdfFacts)


@dataclass(frozen=True)
class HdfContents:
    """The episodes of a file.

    Attributes:
        layout: how the file stores them.
        demos: the episodes, in order.
        splits: split -> numbers of its episodes.
        lacking: (split, reject) for episodes that the file declares but does not have; None instead of a split means every split.
        made_of: files beside this one that say more about the episodes.
    """

    layout: HdfLayout
    demos: tuple[HdfDemo, ...]
    splits: dict[str, frozenset[int]]
    lacking: tuple[tuple[str | None, BadRecord], ...] = ()
    made_of: tuple[str, ...] = ()

    def of_split(self, split: str) -> tuple[HdfDemo, ...]:
        """Returns the episodes of a split, in order. `train` has all episodes if no mask has this name."""
        chosen = self.splits.get(split)
        if chosen is None:
            return self.demos if split == TRAIN else ()
        return tuple(demo for demo in self.demos if demo.number in chosen)

    def lacking_in(self, split: str | None) -> list[BadRecord]:
        """Returns the rejects for episodes that are declared but missing.

        Args:
            split: name of the split; None if the whole file belongs to one split.
        """
        every = split in (None, TRAIN)
        return [bad for of, bad in self.lacking if (of is None and every) or (of is not None and of == split)]


def files_below(path: str) -> list[str]:
    """Returns the file itself, or all HDF5 files below a folder, in the order of the numbers in their names."""
    filesystem, root = stores.filesystem(path)
    if stores.kind_at(filesystem, root) == "file":
        return [path] if root.endswith(SUFFIXES) else []
    found = [f for f in filesystem.find(root) if f.endswith(SUFFIXES) and not f.rsplit("/", 1)[-1].startswith(".")]
    return [stores.join_scheme(path, file) for file in sorted(found, key=natural)]


def folder_split(root: str, file: str) -> str | None:
    """Returns the split whose folder contains the file, None if no folder is named like a split.

    >>> folder_split("/data/set", "/data/set/valid/a.hdf5"), folder_split("/data/test", "/data/test/a.hdf5")
    ('valid', None)
    """
    return next((part for part in stores.below(root, file).split("/")[:-1] if part in SPLIT_FOLDERS), None)


def is_plain(split: str) -> bool:
    """Returns whether the name of a mask may be the name of a folder in an INDEX.

    >>> is_plain("20_percent"), is_plain("../x")
    (True, False)
    """
    return re.fullmatch(r"[\w.+-]+", split) is not None and not split.startswith(".")


def contents(file: Node, path: str, paths: HdfPaths | None = None) -> HdfContents:
    """Finds the episodes of an opened file.

    Args:
        file: the file, from `hdf5_file.opened`.
        path: its path or URL.
        paths: where an entry says the episodes are; None to find out from the file.

    Raises:
        InputError: an entry's pattern matches nothing in the file, or a member that decides about episodes cannot be read.
    """
    if paths is not None and paths.episodes:
        return _of_groups("groups", file, _matching(file, path, paths.episodes))
    data, _ = member(file, "data") if "data" in file else (None, "")
    acts = any(name in file for name in ACTION_GROUPS) or (paths is not None and bool(paths.length))
    ended = _of_ends(file, path, acts)
    if ended is not None:
        return ended
    if isinstance(data, h5py().Group) and not acts and (demos := _groups(data)):
        return _robomimic(file, path, data, [f"data/{name}" for name in demos])
    trajectories = [] if acts else [name for name in _groups(file) if re.fullmatch(r"traj_\d+", name)]
    if trajectories:
        return _maniskill(file, path, trajectories)
    if not acts and (found := _with_actions(file, "", DEEPEST_EPISODES)):
        return _of_groups("groups", file, found)
    return _rows(file, path)


def _groups(group: Node) -> list[str]:
    """Returns the names of a group's members that are groups, and of links that cannot be followed.

    Such a link is refused later, when somebody reads it.
    """
    found = []
    for key in group:
        node, why = member(group, key)
        if why or isinstance(node, h5py().Group):
            found.append(key)
    return sorted(found, key=natural)


def _with_actions(group: Node, prefix: str, deepest: int) -> list[str]:
    """Returns the paths of the groups that contain actions."""
    found: list[str] = []
    for key in sorted(group, key=natural) if deepest else ():
        inner, _ = member(group, key)
        if isinstance(inner, h5py().Group):
            acts = any(name in inner for name in ACTION_GROUPS)
            found += [prefix + key] if acts else _with_actions(inner, f"{prefix}{key}/", deepest - 1)
    return found


def _matching(file: Node, path: str, pattern: str) -> list[str]:
    """Returns the paths of the groups that match a pattern such as "runs/*"."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        inner = []
        for above in found:
            node, _ = at_path(file, above)
            if isinstance(node, h5py().Group):
                inner += [
                    f"{above}/{key}".strip("/") for key in sorted(node, key=natural) if fnmatch.fnmatchcase(key, part)
                ]
        found = inner
    if not found:
        raise InputError(
            f"{path}: no group is called as the entry's `hdf5: {{episodes: {pattern}}}` says; at its root there are "
            f"{', '.join(file) or 'none'}"
        )
    return found


def _numbered(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Returns each path with the number in its last name, or all with their place in the list if two have the same number."""
    paths = list(paths)
    digits = ["".join(re.findall(r"[0-9]", name.rsplit("/", 1)[-1])) for name in paths]
    numbers = [int(d) if d and len(d) < 16 else 0 for d in digits]
    return list(zip(paths, numbers if len(set(numbers)) == len(numbers) else range(len(paths)), strict=True))


def _of_groups(layout: HdfLayout, file: Node, groups: list[str]) -> HdfContents:
    shared = said_by(file)
    demos = tuple(HdfDemo(name, number, facts=shared) for name, number in _numbered(groups))
    return HdfContents(layout, demos, {})


def _robomimic(file: Node, path: str, data: Node, groups: list[str]) -> HdfContents:
    shared = first_of(said_by(data), said_by(file), HdfFacts(language=language_of_name(path)))
    found = _of_groups("robomimic", file, groups)
    numbers = {demo.path.removeprefix("data/"): demo.number for demo in found.demos}
    splits, lacking = {}, list[tuple[str | None, BadRecord]]()
    masks = _needed(file, "mask", path)
    for split in masks if isinstance(masks, h5py().Group) else ():
        mask = _needed(masks, split, path)
        if not isinstance(mask, h5py().Dataset) or not is_text(mask) or mask.size > MOST_NAMED:
            continue
        names = {text(name) for name in np.asarray(mask[()]).ravel()}
        splits[split] = frozenset(numbers[name] for name in names if name in numbers)
        absent = sorted(names - set(numbers), key=natural)
        if absent:
            detail = f"mask/{split} names {len(absent)} episodes that data/ does not have, such as {absent[0]}"
            lacking.append((split, BadRecord(Where(path), "missing", detail, len(absent))))
    declared = number_of(attribute(data, "num_demos"))
    if declared is not None and declared > len(numbers):
        lost = int(declared) - len(numbers)
        detail = f"num_demos is {declared:g}, data/ has {len(numbers)} episodes"
        lacking.append((None, BadRecord(Where(path), "missing", detail, lost)))
    demos = tuple(replace(demo, facts=shared) for demo in found.demos)
    return HdfContents("robomimic", demos, splits, tuple(lacking))


def _needed(group: Node, key: str, path: str) -> Node | None:
    """Returns a member that decides which episodes there are, None if the group does not have it.

    Raises:
        InputError: the member cannot be read, such as a link out of the file, so the episodes are not known.
    """
    node, why = member(group, key) if key in group else (None, "")
    if why:
        raise InputError(f"{path}: {group.name.rstrip('/')}/{key}: {why}")
    return node


def _maniskill(file: Node, path: str, groups: list[str]) -> HdfContents:
    beside: ManiskillJson = read_beside(path)
    shared = first_of(said_by(file), beside.shared)
    found = _of_groups("maniskill", file, groups)
    demos = tuple(replace(d, facts=first_of(beside.episodes.get(d.number, HdfFacts()), shared)) for d in found.demos)
    absent = sorted(set(beside.episodes) - {demo.number for demo in demos})
    lacking: tuple[tuple[str | None, BadRecord], ...] = ()
    if absent:
        detail = f"{json_beside(path)} lists {len(absent)} episodes that are not there, such as traj_{absent[0]}"
        lacking = ((None, BadRecord(Where(path), "missing", detail, len(absent))),)
    made_of = (json_beside(path),) if beside.episodes else ()
    return HdfContents("maniskill", demos, {}, lacking, made_of)


def _of_ends(file: Node, path: str, acts: bool) -> HdfContents | None:
    """Cuts the only group with actions (the file itself if it `acts`) at the row numbers in `episode_ends`.

    Each of these is the number of the row after an episode. Returns None if there are none, or several groups with actions.
    """
    meta = _needed(file, "meta", path)
    holders = [file, *([meta] if isinstance(meta, h5py().Group) else [])]
    node = next((node for holder in holders if (node := _needed(holder, EPISODE_ENDS, path)) is not None), None)
    groups = [""] if acts else _with_actions(file, "", DEEPEST_EPISODES) if node is not None else []
    if node is None or len(groups) != 1:
        return None
    if not isinstance(node, h5py().Dataset) or node.ndim != 1 or node.dtype.kind not in "iu" or node.size > MOST_NAMED:
        raise InputError(f"{path}: {node.name} is no list of row numbers, the row after the last one of each episode")
    ends = np.asarray(node[()]).tolist()
    group, _ = at_path(file, groups[0])
    actions = (member(group, name)[0] for name in ACTIONS if group is not None and name in group)
    rows = next(
        (one.shape[0] for one in actions if isinstance(one, h5py().Dataset) and one.ndim), ends[-1] if ends else 0
    )
    cut, facts = cut_at_ends(ends, rows, f"{path}: {node.name}"), said_by(file)
    demos = (HdfDemo(groups[0], i, start, stop, facts) for i, (start, stop) in enumerate(cut))
    return HdfContents("rows", tuple(demos), {})


def _rows(file: Node, path: str) -> HdfContents:
    """Finds the episodes of a file whose root contains the steps: one, or several if their ends are marked."""
    facts = said_by(file)
    marks = {}
    for key in (*ENDS, "is_first", *EPISODE_MARKS):
        node = _needed(file, key, path)
        if (
            isinstance(node, h5py().Dataset)
            and node.ndim in (1, 2)
            and node.size > 1  # one value is about the whole file
            and (node.dtype.kind in "fiub" or is_text(node))
            and node.size * node.dtype.itemsize < MOST_MARKS
        ):
            marks[key] = np.asarray(node[()])
    starts = episode_starts(marks, path)
    if len(starts) > 1:
        stops = [*starts[1:], max(len(values) for values in marks.values())]
        demos = [HdfDemo("", i, start, stop, facts) for i, (start, stop) in enumerate(zip(starts, stops, strict=True))]
        return HdfContents("rows", tuple(demos), {})
    if "terminals" in marks and "timeouts" not in marks and len(marks["terminals"]) > 1000:
        logger.warning(
            "%s has no `timeouts` and no terminal inside: read as one episode; is it? (D4RL v0 marks no resets)", path
        )
    return HdfContents("file", (HdfDemo("", 0, facts=facts),), {})
