"""Names the dataset that a file or folder of recordings contains: its name in an INDEX, in its entries, and for `fasttok fit`."""

import posixpath
import re
from collections.abc import Collection, Iterable

from fasttok.common.stores import own_path

SUFFIXES = re.compile(r"\.(hdf5|h5|npz|npy|parquet)$")

SNAPSHOT = re.compile(r"datasets--(?:[^/]+?--)?([^/]+)/snapshots/[^/]+$")


def dataset_name(path: str) -> str:
    """Returns a plain name, without a file's suffix. A snapshot in a cache of the Hugging Face hub is named like its repository.

    A link is named like itself, "." and ".." like the folders that they are.

    >>> dataset_name("/data/ph/image v1.hdf5"), dataset_name("libero_90/"), dataset_name("...")
    ('image_v1', 'libero_90', 'dataset')
    >>> dataset_name("/hub/datasets--lab--pick_cup/snapshots/0a1b2c3d4e5f60718293a4b5c6d7e8f901234567")
    'pick_cup'
    >>> dataset_name("/data/libero_90/."), dataset_name("/data/libero_90/goal/.."), dataset_name("gs://bucket/set/")
    ('libero_90', 'libero_90', 'set')
    """
    path = own_path(path)
    cached = SNAPSHOT.search(path)
    name = SUFFIXES.sub("", cached[1] if cached else path.rsplit("/", 1)[-1])
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "dataset"


def files_apart(paths: Iterable[str], datasets: Collection[str]) -> dict[str, list[str]]:
    """Returns folder -> names of the datasets that are single files in it, if there are several in a folder.

    Args:
        paths: files and folders of data.
        datasets: names that the data got.

    >>> files_apart(["d/a.npz", "d/b.npz", "e/c.npz", "f"], ["a", "b", "c", "f"])
    {'d': ['a', 'b']}
    """
    out: dict[str, list[str]] = {}
    for path in paths:
        if SUFFIXES.search(path) and (name := dataset_name(path)) in datasets:
            out.setdefault(posixpath.dirname(path) or ".", []).append(name)
    return {folder: names for folder, names in out.items() if len(names) > 1}
