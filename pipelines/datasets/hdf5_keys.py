"""Checks the keys of `format: hdf5`: which groups are episodes, and which files belong to a split (docs/datasets.md)."""

from dataclasses import fields

from fasttok.episodes.dataset_entry import HdfPaths
from fasttok.episodes.hdf5_layout import is_plain
from mixtures.yaml_lines import Keys
from mixtures.yaml_values import CheckedValues, shown

PATHS = tuple(f.name for f in fields(HdfPaths))
OWN = ("hdf5", "splits")


def check_hdf5_keys(keys: Keys, reader: CheckedValues) -> None:
    """Checks the keys `hdf5` and `splits`.

    Args:
        keys: keys of a robot entry.
        reader: checks values of the entry's file.

    Raises:
        InputError: the entry has another format, or a value is not valid; names the line.
    """
    for key in OWN:
        if key in keys and keys.get("format") != "hdf5":
            raise reader.error(
                keys, key, f"{key!r} of a robot entry is for HDF5 files; add format: hdf5, or leave it out"
            )
    paths = reader.mapping(keys, "hdf5", PATHS, 'a mapping such as {episodes: "runs/*", length: action}')
    for key in paths or ():
        said = reader.filled(keys["hdf5"], key)
        if said.startswith("/") or ".." in said.split("/"):
            message = (
                f"hdf5: {key} is {shown(said)}, expected a path within the file, without a slash at its start or '..'"
            )
            raise reader.error(keys["hdf5"], key, message)
    splits = reader.table(keys, "splits", '{train: "*.hdf5", val: "val/*.hdf5"}')
    for split in splits:
        pattern = reader.filled(splits, split)
        if not is_plain(split):
            raise reader.error(splits, split, f"splits: {split!r} is no plain name for a split")
        if pattern.startswith("/") or ".." in pattern.split("/") or "://" in pattern:
            raise reader.error(
                splits,
                split,
                f"splits: {split} is {shown(pattern)}, expected a pattern of paths below the dataset's folder",
            )
